"""House rules for roles. Every check takes a role's folder and returns one line for each breach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from scripts.role_docs import why_comments

REQUIRED_FILES = ("defaults/main.yml", "meta/argument_specs.yml", "tasks/main.yml", "README.md")
MAIN_LINES = 30
WORDS_OF_A_REASON = 3


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def missing_files(role: Path) -> list[str]:
    """Every role has its defaults, its contract, its entry and its page."""
    return [f"{role.name}: {name} is missing" for name in REQUIRED_FILES if not (role / name).is_file()]


def long_main(role: Path) -> list[str]:
    """tasks/main.yml is a map that fits on a screen."""
    main = role / "tasks/main.yml"
    lines = len(main.read_text(encoding="utf-8").splitlines()) if main.is_file() else 0
    return [f"{role.name}: tasks/main.yml has {lines} lines, at most {MAIN_LINES}"] if lines > MAIN_LINES else []


def spec_differs_from_defaults(role: Path) -> list[str]:
    """An option is either required and has no default, or has the same default in the contract and the defaults."""
    defaults: dict[str, Any] = _load(role / "defaults/main.yml") or {}
    specs: dict[str, Any] = (_load(role / "meta/argument_specs.yml") or {}).get("argument_specs", {})
    problems = []
    declared = set()
    for entry, spec in specs.items():
        for name, option in (spec.get("options") or {}).items():
            declared.add(name)
            where = f"{role.name}: {entry}: {name}"
            if option.get("required"):
                if name in defaults or "default" in option:
                    problems.append(f"{where} is required and has a default")
            elif name not in defaults:
                problems.append(f"{where} is optional and missing in defaults/main.yml")
            elif "default" not in option:
                problems.append(f"{where} has a default in defaults/main.yml, none in the contract")
            elif option["default"] != defaults[name]:
                problems.append(f"{where}: contract says {option['default']!r}, defaults say {defaults[name]!r}")
    problems += [f"{role.name}: {name} is not in meta/argument_specs.yml" for name in defaults if name not in declared]
    return problems


def defaults_without_reason(role: Path) -> list[str]:
    """Every default says why it is what it is, in a comment of some words."""
    path = role / "defaults/main.yml"
    reasons = why_comments(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return [
        f"{role.name}: {name} has no comment that says why" for name, why in reasons.items() if len(why.split()) < 3
    ]


def foreign_names(role: Path) -> list[str]:
    """Public variables start with the role's name, those in vars/ with two underscores before it."""
    problems = [
        f"{role.name}: {name} in defaults/main.yml does not start with {role.name}_"
        for name in _load(role / "defaults/main.yml") or {}
        if not name.startswith(f"{role.name}_")
    ]
    for path in sorted(role.glob("vars/*.yml")):
        problems += [
            f"{role.name}: {name} in vars/{path.name} does not start with __{role.name}_"
            for name in _load(path) or {}
            if not name.startswith(f"__{role.name}_")
        ]
    return problems


CHECKS = (missing_files, long_main, spec_differs_from_defaults, defaults_without_reason, foreign_names)
