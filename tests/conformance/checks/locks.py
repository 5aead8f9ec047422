"""House rules for what is installed from elsewhere: locks are whole, collections and actions are pinned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ENTRY = re.compile(r"^[A-Za-z0-9]")
PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@(?:v\d+(?:\.\d+)*|[0-9a-f]{40})")
PINNED_IMAGE_ACTION = re.compile(r"docker://[\w./-]+:\d+(?:\.\d+)+")


def _entries(lock: str) -> dict[str, list[str]]:
    """Return the entries of a pip lock by package: each one logical line, markers and hashes included."""
    entries: dict[str, list[str]] = {}
    for line in lock.replace("\\\n", " ").splitlines():
        if ENTRY.match(line):
            name = canonicalize_name(Requirement(line.split(" --hash")[0]).name)
            entries.setdefault(name, []).append(line)
    return entries


def loose_locks(wanted: str, lock: str) -> list[str]:
    """Every entry of a lock is one version with a hash, and every wanted package is locked within its range.

    Args:
        wanted: the text of requirements.in.
        lock: the text of requirements.txt.

    Returns:
        One line for each breach.
    """
    problems = []
    entries = _entries(lock)
    for name, lines in entries.items():
        for line in lines:
            if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", line):
                problems.append(f"{name} has no hash")
            if not re.search(r"^[^;]+==", line):
                problems.append(f"{name} is not one version")
    for line in wanted.splitlines():
        if not ENTRY.match(line):
            continue
        requirement = Requirement(line.split(" #")[0])
        locked = [
            next(iter(Requirement(entry.split(" --hash")[0]).specifier)).version
            for entry in entries.get(canonicalize_name(requirement.name), [])
        ]
        if not locked:
            problems.append(f"{requirement.name} is not in the lock; run make lock")
        problems += [
            f"{requirement} is not met by {version}"
            for version in locked
            if not requirement.specifier.contains(version, prereleases=True)
        ]
    return problems


def unmet_collections(requirements: str, collections: Path) -> list[str]:
    """Every collection of a requirements.yml is installed in a version that its range takes.

    Args:
        requirements: the text of requirements.yml.
        collections: the folder `ansible_collections` to look in.

    Returns:
        One line for each collection that is missing or of another version.
    """
    problems = []
    for wanted in yaml.safe_load(requirements)["collections"]:
        manifest = collections / wanted["name"].replace(".", "/") / "MANIFEST.json"
        if not manifest.is_file():
            problems.append(f"{wanted['name']} is not installed")
            continue
        version = json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
        if version not in SpecifierSet(wanted["version"]):
            problems.append(f"{wanted['name']} {wanted['version']} is not met by {version}")
    return problems


def unpinned_actions(workflow: str) -> list[str]:
    """Every action of a GitHub workflow is a version or a commit, never a branch."""
    uses = re.findall(r"^\s*(?:- )?uses:\s*(\S+)", workflow, re.MULTILINE)
    pinned = (PINNED_ACTION, PINNED_IMAGE_ACTION)
    return [
        f"{name} is neither a version nor a commit" for name in uses if not any(rule.fullmatch(name) for rule in pinned)
    ]
