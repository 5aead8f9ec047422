"""House rules for images: each is pinned in one place, and health checks use what the images hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

PINS = "group_vars/all/images.yml"
# Where an image could be named. Python and docs may speak of images; these files start them.
STARTS_IMAGES = ("group_vars", "inventory", "molecule", "playbooks", "roles", ".github")
SUFFIXES = {".yml", ".yaml", ".j2"}
RENOVATE = re.compile(r"#\s*renovate: datasource=docker depName=(?P<name>\S+)$")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LATEST = re.compile(r"\S:latest\b|\btag:\s*[\"']?latest\b")
# BusyBox's own wget is in images that stand on Alpine.
NO_SUCH_TOOL = re.compile(r"(?<!\bbusybox, )\b(curl|wget)\b")
# LiteLLM's /health asks every model, which costs money; /health/liveliness and its kin do not.
COMMENT = re.compile(r"(^|\s)#.*")
HEALTH_KEY = re.compile(r"^\s*\w*health\w*:", re.IGNORECASE)
IMAGE_KEY = re.compile(r"^\s+image:\s")
TEST_AS_STRING = re.compile(r"^\s*test:\s+(?!\[|[\"']?\{\{)\S")
COSTLY_HEALTH = re.compile(r"/health(?![\w/-])")


def _files(repository: Path) -> Iterator[Path]:
    for folder in STARTS_IMAGES:
        for path in sorted((repository / folder).rglob("*")):
            if path.is_file() and (path.suffix in SUFFIXES or path.name.startswith("Dockerfile")):
                yield path


def _pins(repository: Path) -> dict[str, dict[str, str]]:
    pins: dict[str, dict[str, str]] = yaml.safe_load((repository / PINS).read_text(encoding="utf-8"))["llm_images"]
    return pins


def latest_tags(repository: Path) -> list[str]:
    """`latest` is a different image every week; nothing uses it."""
    return [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in _files(repository)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LATEST.search(line) and not line.lstrip().startswith("#")
    ]


def wrong_pins(repository: Path) -> list[str]:
    """A pin has a repository, a tag, a digest that is empty or whole, and tells Renovate the same name."""
    lines = (repository / PINS).read_text(encoding="utf-8").splitlines()
    problems = []
    for name, pin in _pins(repository).items():
        if not pin.get("repository") or not pin.get("tag"):
            problems.append(f"{name}: needs a repository and a tag")
        if pin.get("digest") and not DIGEST.fullmatch(pin["digest"]):
            problems.append(f"{name}: {pin['digest']} is no digest (sha256: and 64 hex digits)")
        above = lines[lines.index(f"  {name}:") - 1]
        renovate = RENOVATE.search(above)
        if renovate is None:
            problems.append(f"{name}: no renovate comment on the line above")
        elif _short(pin["repository"]) != _short(renovate["name"]):
            problems.append(f"{name}: renovate watches {renovate['name']}, the pin is {pin['repository']}")
    return problems


def _short(repository: str) -> str:
    """Return the name as Docker Hub's users write it."""
    return repository.removeprefix("docker.io/").removeprefix("library/")


def pinned_again(repository: Path) -> list[str]:
    """A pinned image is named once: here, and nowhere else with a tag or a digest."""
    repositories = [pin["repository"] for pin in _pins(repository).values()]
    problems = [
        f"{name} is pinned twice in {PINS}" for name in sorted(set(repositories)) if repositories.count(name) > 1
    ]
    names = "|".join(re.escape(_short(name)) for name in repositories)
    pinned = re.compile(rf"(?<![\w./-])(?:docker\.io/)?(?:library/)?(?:{names})(?::[\w.-]+|@sha256)")
    problems += [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for path in _files(repository)
        if path != repository / PINS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if not line.lstrip().startswith("#") and _names_an_image(line) and pinned.search(line)
    ]
    return problems


def _names_an_image(line: str) -> bool:
    """Tell an image reference from YAML such as `redis: {` or `redis:6379`."""
    return bool(re.search(r"image:|\bFROM\b|docker (run|pull)|@sha256|/[\w.-]+:[\w.-]+", line))


def _blocks(lines: list[str], key: re.Pattern[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each mapping line that the pattern finds, by number, with the deeper lines below it."""
    for start, line in enumerate(lines):
        if key.search(line):
            end = start + 1
            while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > _indent(line)):
                end += 1
            yield start + 1, lines[start:end]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _siblings(lines: list[str], position: int) -> list[str]:
    """Return the lines of the mapping that holds the line at a position."""
    indent = _indent(lines[position])
    outside = [number for number, line in enumerate(lines) if line.strip() and _indent(line) < indent]
    start = max([number + 1 for number in outside if number < position], default=0)
    end = min([number for number in outside if number > position], default=len(lines))
    return [line for line in lines[start:end] if _indent(line) == indent]


def wrong_health_checks(repository: Path) -> list[str]:
    """A container has a health check: a list, that needs no tool the image lacks, and calls no model."""
    problems = []
    for path in sorted((repository / "roles").rglob("*")):
        if path.suffix not in {".yml", ".yaml", ".j2", ".py", ".sh"}:
            continue
        where = path.relative_to(repository)
        lines = [COMMENT.sub("", line) for line in path.read_text(encoding="utf-8").splitlines()]
        problems += [
            f"{where}:{number}: asks /health, which calls every model and costs money"
            for number, line in enumerate(lines, 1)
            if COSTLY_HEALTH.search(line)
        ]
        for number, block in _blocks(lines, HEALTH_KEY):
            if any(NO_SUCH_TOOL.search(line) for line in block):
                problems.append(f"{where}:{number}: uses curl or wget, which the images do not hold")
            if any(TEST_AS_STRING.search(line) for line in block):
                problems.append(f"{where}:{number}: the test is one string; write a list")
        problems += [
            f"{where}:{position + 1}: this container has no healthcheck"
            for position, line in enumerate(lines)
            if IMAGE_KEY.match(line) and not any(HEALTH_KEY.search(near) for near in _siblings(lines, position))
        ]
    return problems


def literal_images(repository: Path) -> list[str]:
    """A role takes its image from a variable."""
    image = re.compile(r"^\s*(?:- )?image:\s*(?![\"']?\{\{)\S")
    return [
        f"{path.relative_to(repository)}:{number}: {line.strip()}"
        for folder in ("roles", "playbooks")
        for path in sorted((repository / folder).rglob("*"))
        if path.suffix in SUFFIXES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if image.match(line)
    ]


CHECKS = (latest_tags, wrong_pins, pinned_again, literal_images, wrong_health_checks)
