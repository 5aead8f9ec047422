"""House rules for every text file: links resolve, and nothing names the machine it was written on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

SKIPPED_FOLDERS = {".git", ".venv", ".bed", ".ansible", ".hypothesis", "collections", "node_modules", "__pycache__"}
TEXT_SUFFIXES = {".cfg", ".in", ".j2", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yml", ".yaml", ""}
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#+\s+(?P<title>.+?)\s*$", re.MULTILINE)
CODE = re.compile(r"^(?P<fence>```|~~~).*?^(?P=fence)|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HOME_OR_WORKPLACE = re.compile(r"(?<![\w.~}-])/(?:root|work|home/\w+)/")
# Where packages come from is the machine's own setting.
PACKAGE_INDEX = re.compile(
    r"--(?:extra-)?index[-]url|--find[-]links|\b(?:pypi|npmjs)\.org\b|python[h]osted|\b(?:deb|security)\.debian\.org"
)


def text_files(repository: Path) -> Iterator[Path]:
    """Yield the files of a checkout that people write."""
    for folder, names, files in os.walk(repository):
        names[:] = sorted(name for name in names if name not in SKIPPED_FOLDERS and not name.endswith("_cache"))
        for path in (Path(folder) / name for name in sorted(files)):
            if path.suffix in TEXT_SUFFIXES and not path.is_symlink():
                yield path


def _matches(repository: Path, pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in text_files(repository)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def machine_paths(repository: Path) -> list[str]:
    """No file names a folder of the machine it was written on."""
    return _matches(repository, HOME_OR_WORKPLACE)


def package_indexes(repository: Path) -> list[str]:
    """No file names a package index."""
    return _matches(repository, PACKAGE_INDEX)


def _anchors(page: Path) -> set[str]:
    """Return the anchors GitHub makes for the headings of a page."""
    text = CODE.sub(lambda match: match[0].strip("`") if "\n" not in match[0] else "", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)}


def broken_links(repository: Path) -> list[str]:
    """Every relative link of a page leads to a file of this repository, and to a heading where it names one."""
    problems = []
    for page in (path for path in text_files(repository) if path.suffix == ".md"):
        for link in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
            target = link["target"]
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, anchor = target.partition("#")
            goal = (page.parent / name).resolve() if name else page
            where = f"{page.relative_to(repository)}: {target}"
            if not goal.exists() or not goal.is_relative_to(repository.resolve()):
                problems.append(f"{where} leads nowhere")
            elif anchor and goal.suffix == ".md" and anchor not in _anchors(goal):
                problems.append(f"{where}: no such heading")
    return problems


CHECKS = (machine_paths, package_indexes, broken_links)
