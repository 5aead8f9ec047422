"""Every role keeps the house rules, and each rule finds its breach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.checks import roles

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (REPOSITORY / "roles").iterdir() if path.is_dir())

GOOD_ROLE = {
    "README.md": "# Role `cache`\n",
    "defaults/main.yml": "---\n# Enough for a small box.\ncache_size: 10\ncache_names: []  # nobody enters unasked\n",
    "meta/argument_specs.yml": """---
argument_specs:
  main:
    options:
      cache_size: {type: int, default: 10}
      cache_names: {type: list, default: []}
      cache_image: {type: str, required: true}
""",
    "tasks/main.yml": "---\n- name: Look\n  ansible.builtin.ping:\n",
    "vars/main.yml": "---\n__cache_port: 1\n",
}


def make_role(folder: Path, changes: dict[str, str | None]) -> Path:
    """Write the good role with some files changed, or left out where the change is None."""
    role = folder / "cache"
    for name, text in {**GOOD_ROLE, **changes}.items():
        if text is not None:
            path = role / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return role


def test_there_are_roles() -> None:
    assert ROLES


@pytest.mark.parametrize("check", roles.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_keeps_the_rule(role: Path, check: Callable[[Path], list[str]]) -> None:
    assert check(role) == []


@pytest.mark.parametrize("check", roles.CHECKS, ids=lambda check: check.__name__)
def test_good_role_passes(tmp_path: Path, check: Callable[[Path], list[str]]) -> None:
    assert check(make_role(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("check", "file", "text", "says"),
    [
        (roles.missing_files, "README.md", None, "README.md is missing"),
        (roles.missing_files, "meta/argument_specs.yml", None, "meta/argument_specs.yml is missing"),
        (roles.long_main, "tasks/main.yml", "---\n" + "- ping:\n" * 30, "has 31 lines"),
        (
            roles.spec_differs_from_defaults,
            "defaults/main.yml",
            "cache_size: 11\ncache_names: []\n",
            "contract says 10, defaults say 11",
        ),
        (
            roles.spec_differs_from_defaults,
            "defaults/main.yml",
            "cache_size: 10\n",
            "cache_names is optional",
        ),
        (
            roles.spec_differs_from_defaults,
            "defaults/main.yml",
            "cache_size: 10\ncache_names: []\ncache_image: x\n",
            "cache_image is required and has a default",
        ),
        (
            roles.spec_differs_from_defaults,
            "defaults/main.yml",
            "cache_size: 10\ncache_names: []\ncache_extra: 1\n",
            "cache_extra is not in meta/argument_specs.yml",
        ),
        (
            roles.spec_differs_from_defaults,
            "meta/argument_specs.yml",
            "argument_specs: {main: {options: {cache_size: {default: 10}, cache_names: {type: list}}}}\n",
            "cache_names has a default in defaults/main.yml, none in the contract",
        ),
        (
            roles.defaults_without_reason,
            "defaults/main.yml",
            "# For a small box.\n\ncache_size: 1\n",
            "cache_size has no",
        ),
        (
            roles.defaults_without_reason,
            "defaults/main.yml",
            'cache_size: "this # is just text"\n',
            "cache_size has no",
        ),
        (
            roles.foreign_names,
            "defaults/main.yml",
            "size: 10\n",
            "does not start with cache_",
        ),
        (
            roles.foreign_names,
            "vars/main.yml",
            "cache_port: 1\n",
            "does not start with __cache_",
        ),
    ],
)
def test_breach_is_found(
    tmp_path: Path, check: Callable[[Path], list[str]], file: str, text: str | None, says: str
) -> None:
    assert says in "\n".join(check(make_role(tmp_path, {file: text})))
