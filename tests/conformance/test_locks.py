"""What is installed from elsewhere is locked, pinned, and fits together."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.conformance.checks import locks

REPOSITORY = Path(__file__).resolve().parents[2]
HASH = f"--hash=sha256:{'0a' * 32}"


def read(name: str) -> str:
    """Return the text of a file of this repository."""
    return (REPOSITORY / name).read_text(encoding="utf-8")


def bundled_collections() -> Path:
    """Return the folder of the collections that the `ansible` package brings."""
    spec = find_spec("ansible_collections")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(Path(place) for place in spec.submodule_search_locations if (Path(place) / "community").is_dir())


def test_lock_is_whole() -> None:
    assert locks.loose_locks(read("requirements.in"), read("requirements.txt")) == []


@pytest.mark.parametrize(
    ("wanted", "lock", "says"),
    [
        ("ruff\n", f"ruff==1.0 \\\n    {HASH}\n", ""),
        ("Ruff_x>=1 # why\n", f"ruff-x==1.0 ; python_version < '3.12' \\\n    {HASH}\n    # via -r x\n", ""),
        ("ruff\n", "ruff==1.0\n", "ruff has no hash"),
        ("ruff\n", f"ruff>=1.0 \\\n    {HASH}\n", "ruff is not one version"),
        ("ruff\nmypy\n", f"ruff==1.0 \\\n    {HASH}\n", "mypy is not in the lock"),
        ("ruff>=2\n", f"ruff==1.0 \\\n    {HASH}\n", "ruff>=2 is not met by 1.0"),
    ],
)
def test_loose_lock_is_found(wanted: str, lock: str, says: str) -> None:
    found = "\n".join(locks.loose_locks(wanted, lock))
    assert says in found if says else found == ""


def test_bundled_collections_meet_the_requirements() -> None:
    assert locks.unmet_collections(read("requirements.yml"), bundled_collections()) == []


def test_unmet_collection_is_found(tmp_path: Path) -> None:
    manifest = tmp_path / "community/docker/MANIFEST.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"collection_info": {"version": "4.8.5"}}), encoding="utf-8")
    wanted = "collections: [{name: community.docker, version: '>=5'}, {name: ansible.posix, version: '>=1'}]"
    assert locks.unmet_collections(wanted, tmp_path) == [
        "community.docker >=5 is not met by 4.8.5",
        "ansible.posix is not installed",
    ]


def test_collection_asks_for_what_requirements_ask_for() -> None:
    wanted = {item["name"]: item["version"] for item in yaml.safe_load(read("requirements.yml"))["collections"]}
    assert yaml.safe_load(read("galaxy.yml"))["dependencies"].items() <= wanted.items()


@pytest.mark.parametrize("workflow", sorted(path.name for path in (REPOSITORY / ".github/workflows").glob("*.yml")))
def test_actions_are_pinned(workflow: str) -> None:
    assert locks.unpinned_actions(read(f".github/workflows/{workflow}")) == []


def test_unpinned_action_is_found() -> None:
    workflow = f"- uses: actions/checkout@v4\n- uses: a/b@main\n- name: x\n  uses: c/d@{'0a' * 20}\n- uses: e/f\n"
    workflow += "- uses: docker://g/h:1.7.7\n- uses: docker://g/h:latest\n"
    assert locks.unpinned_actions(workflow) == [
        "a/b@main is neither a version nor a commit",
        "e/f is neither a version nor a commit",
        "docker://g/h:latest is neither a version nor a commit",
    ]
