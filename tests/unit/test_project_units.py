"""Unit files in a project's folder: systemd gets copies, keeps the timers running, and loses what the folder loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule

from plugins.module_utils.project import units
from tests.unit.test_project_files import Runner

SERVICE, TIMER = "llm-gateway-ollama-look.service", "llm-gateway-ollama-look.timer"
WITHOUT: dict[str, Any] = {"files": {"compose.yml": {"content": "services: {}\n"}}}
COMMIT: dict[str, Any] = {"state": "committed"}


def with_units(every: int = 5, program: str = "look") -> dict[str, Any]:
    return {
        "files": {
            **WITHOUT["files"],
            SERVICE: {"content": f"[Service]\nExecStart=/bin/{program}\n"},
            TIMER: {"content": f"[Timer]\nOnActiveSec={every}min\n"},
        }
    }


class Systemd:
    """Stands in for systemctl: knows which timers are on, and keeps what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.on: set[str] = set()
        self.told: list[str] = []
        self.refuses = ""

    def __call__(self, words: list[str], **_options: Any) -> tuple[int, str, str]:
        verb, *names = [word for word in words[1:] if not word.startswith("--")]
        if verb in ("is-enabled", "is-active"):
            return int(names[0] not in self.on), "", ""
        self.told.append(" ".join([verb, *names]))
        if verb == self.refuses:
            return 1, "", "Failed to do it: Access denied\n"
        if verb == "disable":
            assert all((self.folder / name).is_file() for name in names), "systemd finds no unit without its file"
            self.on -= set(names)
        if verb == "restart":
            self.on |= set(names)
        return 0, "", ""

    def asked_to(self) -> list[str]:
        """What it was told since this was called last."""
        told, self.told = self.told, []
        return told

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    folder = tmp_path / "system"
    folder.mkdir()
    (folder / "llm-gateway-ollama.service").write_text("somebody else's\n")
    (folder / "llm-gateway-redis-look.timer").write_text("another project's\n")
    found = Systemd(folder)
    monkeypatch.setattr(units, "SYSTEM_UNITS", str(folder))
    monkeypatch.setattr(AnsibleModule, "run_command", found)
    return found


OTHERS = ["llm-gateway-ollama.service", "llm-gateway-redis-look.timer"]
ALL = sorted([*OTHERS, SERVICE, TIMER])
START = ["daemon-reload", f"enable {TIMER}", f"restart {TIMER}"]
STOP = [f"disable {TIMER} {SERVICE}", f"reset-failed {TIMER} {SERVICE}", "daemon-reload"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    return Runner(capsys, str(tmp_path / "box" / "ollama"))


def same_in_check_mode(run: Runner, systemd: Systemd, **options: Any) -> dict[str, Any]:
    """Run in check mode and for real; return the result, which is the same."""
    before = systemd.files()
    predicted = run(check=True, **options)
    assert (systemd.files(), systemd.told) == (before, [])
    real = run(**options)
    del predicted["invocation"], real["invocation"]
    assert predicted == real
    return real


def test_timers_come_and_run_and_a_second_run_changes_nothing(run: Runner, systemd: Systemd) -> None:
    first = same_in_check_mode(run, systemd, **with_units())
    assert (first["changed"], first["started_timers"]) == (True, [TIMER])
    assert str(systemd.folder / TIMER) in first["changed_files"]
    assert [entry["after"] for entry in first["diff"] if entry["after_header"] == TIMER] == ["started\n"]
    assert systemd.files() == ALL
    assert (systemd.folder / TIMER).read_text() == Path(run.path, TIMER).read_text()
    assert systemd.asked_to() == START

    run(**COMMIT)
    second = same_in_check_mode(run, systemd, **with_units())
    assert (second["changed"], second["diff"], systemd.asked_to()) == (False, [], [])


def test_a_project_without_units_asks_systemd_nothing_and_leaves_the_units_of_others(
    run: Runner, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_words: Any, **_options: Any) -> None:
        raise AssertionError("a command was run")

    monkeypatch.setattr(AnsibleModule, "run_command", never)
    assert run(**WITHOUT)["changed"] is True
    assert run(state="absent")["changed"] is True
    assert systemd.files() == OTHERS


def test_a_changed_timer_starts_anew_and_a_changed_service_is_only_read_anew(run: Runner, systemd: Systemd) -> None:
    run(**with_units())
    systemd.asked_to()
    same_in_check_mode(run, systemd, **with_units(every=7))
    assert systemd.asked_to() == START
    assert same_in_check_mode(run, systemd, **with_units(every=7, program="see"))["started_timers"] == []
    assert systemd.asked_to() == ["daemon-reload"]


def test_a_timer_that_somebody_stopped_or_a_unit_that_somebody_removed_comes_back(
    run: Runner, systemd: Systemd
) -> None:
    run(**with_units())
    run(**COMMIT)
    systemd.asked_to()
    systemd.on.clear()
    again = same_in_check_mode(run, systemd, **with_units())
    assert (again["changed"], again["changed_files"], again["uncommitted"]) == (True, [], False)
    assert systemd.asked_to() == START

    (systemd.folder / SERVICE).unlink()
    again = same_in_check_mode(run, systemd, **with_units())
    assert again["changed_files"] == [str(systemd.folder / SERVICE)]
    assert systemd.files() == ALL


@pytest.mark.parametrize("gone", [WITHOUT, {"state": "absent"}])
def test_units_go_with_their_files(run: Runner, systemd: Systemd, gone: dict[str, Any]) -> None:
    run(**with_units())
    systemd.asked_to()
    result = same_in_check_mode(run, systemd, **gone)
    assert str(systemd.folder / TIMER) in result["removed_files"]
    assert (systemd.files(), systemd.on, systemd.asked_to()) == (OTHERS, set(), STOP)


@pytest.mark.parametrize("later", [WITHOUT, {"state": "absent"}])
def test_what_a_broken_off_run_left_with_systemd_goes_in_the_next_one(
    run: Runner, systemd: Systemd, later: dict[str, Any]
) -> None:
    run(**WITHOUT)
    run(**COMMIT)
    for name in (SERVICE, TIMER):
        (systemd.folder / name).write_text("left behind\n")
    assert run(**later)["changed"] is True
    assert systemd.files() == OTHERS


@pytest.mark.parametrize(("before", "after"), [(with_units(), WITHOUT), (WITHOUT, with_units(9))])
def test_units_go_back_with_the_files(
    run: Runner, systemd: Systemd, before: dict[str, Any], after: dict[str, Any]
) -> None:
    run(**before)
    run(**COMMIT)
    names, on = systemd.files(), set(systemd.on)
    run(**after)
    assert (systemd.files(), systemd.on) != (names, on)
    systemd.asked_to()
    same_in_check_mode(run, systemd, state="restored")
    assert (systemd.files(), systemd.on) == (names, on)


def test_a_unit_whose_name_could_be_somebody_elses_is_refused(run: Runner, systemd: Systemd) -> None:
    result = run(files={"look.timer": {"content": "[Timer]\n"}})
    assert result["failed"] is True
    assert result["msg"] == (
        "files: 'look.timer' is a unit for systemd, so its name must begin with llm-gateway-ollama-"
    )
    assert systemd.files() == OTHERS


def test_what_systemd_refuses_is_said(run: Runner, systemd: Systemd) -> None:
    systemd.refuses = "enable"
    result = run(**with_units())
    assert result["failed"] is True
    assert result["msg"] == f"systemctl enable {TIMER} failed: Failed to do it: Access denied"
    assert result["uncommitted"] is True
