"""Going back to the last verified state: what project_files keeps for it, and what the module generation counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.modules import generation, project_files

if TYPE_CHECKING:
    from types import ModuleType


class Box:
    """A folder of projects, with the two modules that a run calls."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder

    def _run(self, module: ModuleType, options: dict[str, Any]) -> dict[str, Any]:
        with (
            patch_module_args({"_ansible_diff": True, "_ansible_check_mode": False, **options}),
            pytest.raises(SystemExit),
        ):
            module.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result

    def generation(self, **options: Any) -> dict[str, Any]:
        return self._run(generation, {"deploy_dir": str(self.folder), **options})

    def project(self, name: str, **options: Any) -> dict[str, Any]:
        return self._run(project_files, {"path": str(self.folder / name), **options})

    def deploy(self, **contents: str) -> None:
        """Write and commit projects, each with one file."""
        for name, content in contents.items():
            if self.project(name, files={"file": {"content": content}})["uncommitted"]:
                self.project(name, state="committed")

    def go_back(self) -> list[str]:
        """Do what the playbook does; return the projects that changed."""
        undo = self.generation()["undo"]
        changed = []
        for name in self.names():
            if self.project(name, state="previous", generation=undo)["changed"]:
                changed.append(name)
                self.project(name, state="committed")
        return changed

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def contents(self) -> dict[str, str]:
        return {name: (self.folder / name / "file").read_text() for name in self.names()}


@pytest.fixture
def box(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Box:
    return Box(capsys, tmp_path)


def test_goes_back_to_the_last_verified_state_and_forth(box: Box) -> None:
    box.deploy(litellm="1", redis="1")
    box.generation(state="verified")
    box.deploy(litellm="2", redis="2")
    box.generation(state="verified")
    assert box.generation()["projects"] == ["litellm", "redis"]
    assert box.go_back() == ["litellm", "redis"]
    box.generation(state="verified")
    assert box.contents() == {"litellm": "1", "redis": "1"}
    box.go_back()
    assert box.contents() == {"litellm": "2", "redis": "2"}


def test_leaves_alone_what_the_last_change_did_not_touch(box: Box) -> None:
    box.deploy(litellm="1", redis="1")
    box.generation(state="verified")
    box.deploy(litellm="2", redis="2")
    box.generation(state="verified")
    box.deploy(litellm="3", redis="2")
    box.generation(state="verified")
    box.generation(state="verified")
    assert box.go_back() == ["litellm"]
    assert box.contents() == {"litellm": "2", "redis": "2"}


def test_passes_over_states_that_were_never_verified(box: Box) -> None:
    box.deploy(litellm="good")
    box.generation(state="verified")
    box.deploy(litellm="wrong")
    box.deploy(litellm="wrong too")
    box.go_back()
    assert box.contents() == {"litellm": "good"}
    assert box.go_back() == []


def test_a_change_that_was_taken_back_does_not_cost_the_state_before(box: Box) -> None:
    box.deploy(litellm="1")
    box.generation(state="verified")
    box.deploy(litellm="2")
    box.generation(state="verified")
    box.project("litellm", files={"file": {"content": "broken"}})
    box.project("litellm", state="restored")
    box.project("litellm", state="committed")
    assert box.contents() == {"litellm": "2"}
    box.go_back()
    assert box.contents() == {"litellm": "1"}


def test_going_back_that_fails_is_taken_back_as_any_change(box: Box) -> None:
    box.deploy(litellm="1")
    box.generation(state="verified")
    box.deploy(litellm="2")
    box.generation(state="verified")
    back = box.project("litellm", state="previous", generation=1)
    assert (back["changed"], back["restorable"]) == (True, True)
    box.project("litellm", state="restored")
    box.project("litellm", state="committed")
    assert box.contents() == {"litellm": "2"}
    assert box.generation()["undo"] == 1


def test_nothing_is_kept_of_a_gateway_that_never_answered(box: Box) -> None:
    box.deploy(litellm="1")
    box.deploy(litellm="2")
    assert box.generation() == {**box.generation(), "undo": None, "projects": []}


def test_check_mode_begins_no_generation(box: Box) -> None:
    box.deploy(litellm="1")
    box.generation(state="verified", _ansible_check_mode=True)
    assert not (box.folder / ".generation").exists()


def test_a_spoilt_number_is_said_with_its_file(box: Box) -> None:
    box.deploy(litellm="1")
    (box.folder / ".generation").write_text("seven")
    assert str(box.folder / ".generation") in box.generation()["msg"]


def test_without_a_gateway_it_says_what_to_do(box: Box) -> None:
    assert "make apply" in box.generation(deploy_dir=str(box.folder / "nothing"))["msg"]


def test_a_killed_change_is_what_goes_back_and_nothing_else(box: Box) -> None:
    box.deploy(litellm="1", ingress="1")
    box.generation(state="verified")
    box.deploy(litellm="2", ingress="2")
    box.generation(state="verified")
    box.project("litellm", files={"file": {"content": "half"}})
    asked = box.generation()
    assert (asked["undo"], asked["projects"]) == (0, ["litellm"])
    assert box.go_back() == ["litellm"]
    assert box.contents() == {"litellm": "2", "ingress": "2"}
    assert box.generation()["projects"] == ["ingress", "litellm"]


def test_there_is_nothing_more_to_go_back_to_once_all_is_back(box: Box) -> None:
    box.deploy(litellm="good")
    box.generation(state="verified")
    box.deploy(litellm="wrong")
    assert box.go_back() == ["litellm"]
    assert (box.generation()["undo"], box.generation()["projects"]) == (None, [])


def test_the_mark_of_an_earlier_version_stops_nothing(box: Box) -> None:
    box.deploy(litellm="1")
    (box.folder / "litellm/.unfinished").write_text("")
    assert box.generation()["undo"] is None
    box.deploy(litellm="2")
    assert not (box.folder / "litellm/.unfinished").exists()


def test_a_disk_that_is_full_at_the_end_costs_no_good_state(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.deploy(litellm="1")
    box.generation(state="verified")
    box.deploy(litellm="2")
    box.generation(state="verified")
    box.project("litellm", files={"file": {"content": "3"}})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("plugins.module_utils.project.generations.write", full)
        assert box.project("litellm", state="committed")["failed"] is True
    assert (box.folder / "litellm/.previous/file").read_text() == "1"
    box.project("litellm", state="committed")
    box.go_back()
    assert box.contents() == {"litellm": "2"}
