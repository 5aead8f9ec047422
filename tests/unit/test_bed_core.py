"""The test bed's progress lines, task order, commands and engine messages."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from graphlib import CycleError
from pathlib import Path

import pytest
from bed.commands import TAIL_LINES, CommandFailed, capture, run
from bed.engine import engine_packages, install_command, unreachable_reason, uses_apt
from bed.graph import Task, run_tasks
from bed.progress import Progress, running_line


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class TestProgress:
    def test_a_line_carries_the_seconds_since_the_start(self) -> None:
        now = [100.0]
        out = io.StringIO()
        progress = Progress(out, clock=lambda: now[0])
        now[0] = 112.4
        progress.say("litellm: 118 wheels installed")
        assert out.getvalue() == "[  12 s] litellm: 118 wheels installed\n"

    def test_steps_under_way_are_named_with_their_age(self) -> None:
        assert (
            running_line({"image redis": 5.0, "seed": 11.0}, now=20.0) == "still at it: image redis (15 s), seed (9 s)"
        )

    def test_a_long_step_is_never_silent(self) -> None:
        out = io.StringIO()
        with Progress(out, interval=0.05) as progress, progress.step("image redis"):
            deadline = time.monotonic() + 5
            while out.getvalue().count("still at it: image redis") < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert out.getvalue().count("still at it: image redis") >= 2

    def test_nothing_is_printed_while_no_step_runs(self) -> None:
        out = io.StringIO()
        with Progress(out, interval=0.02):
            time.sleep(0.1)
        assert out.getvalue() == ""


class TestTasks:
    def test_a_task_waits_for_what_it_needs_and_the_first_declared_goes_first(self) -> None:
        done: list[str] = []
        names = ("slim", "push", "image", "seed")
        needs = {"push": ("image",), "image": ("slim",), "seed": ("push",)}
        tasks = {name: Task(lambda name=name: done.append(name), needs.get(name, ())) for name in names}  # type: ignore[misc]
        run_tasks(tasks, workers=1)
        assert done == ["slim", "image", "push", "seed"]

    def test_independent_tasks_run_at_the_same_time(self) -> None:
        meet = threading.Barrier(2, timeout=5)
        run_tasks({"one": Task(lambda: void(meet.wait())), "two": Task(lambda: void(meet.wait()))}, workers=2)
        assert not meet.broken

    def test_a_failure_starts_nothing_more_and_is_raised(self) -> None:
        done: list[str] = []

        def fail() -> None:
            raise CommandFailed(["docker", "build"], 1, "no space left on device")

        tasks = {"image": Task(fail), "push": Task(lambda: done.append("push"), ("image",)), "other": Task(void)}
        with pytest.raises(CommandFailed, match="no space left"):
            run_tasks(tasks, workers=1)
        assert done == []

    def test_tasks_that_need_each_other_are_refused(self) -> None:
        with pytest.raises(CycleError):
            run_tasks({"one": Task(void, ("two",)), "two": Task(void, ("one",))}, workers=1)

    def test_an_unknown_need_is_refused(self) -> None:
        with pytest.raises(KeyError, match="absent"):
            run_tasks({"one": Task(void, ("absent",))}, workers=1)


def void(*_: object) -> None:
    """Does nothing."""


class TestCommands:
    def test_output_goes_to_the_log_and_is_returned(self, tmp_path: Path) -> None:
        log = tmp_path / "logs" / "step.log"
        assert run(python("print('first')"), log=log) == "first\n"
        assert run(python("import sys; print('second', file=sys.stderr)"), log=log) == "second\n"
        assert re.findall(r"^(first|second)$", log.read_text(), re.MULTILINE) == ["first", "second"]

    def test_a_failure_shows_the_end_of_the_output_and_names_the_log(self, tmp_path: Path) -> None:
        log = tmp_path / "step.log"
        with pytest.raises(CommandFailed) as caught:
            run(python("print(*range(100), sep='\\n'); raise SystemExit(7)"), log=log)
        text = str(caught.value)
        assert "status 7" in text
        assert str(log) in text
        assert [line.strip() for line in text.splitlines()[-TAIL_LINES:]] == [str(n) for n in range(80, 100)]

    def test_a_captured_failure_shows_what_the_program_said(self) -> None:
        with pytest.raises(CommandFailed, match="no such image"):
            capture(python("import sys; sys.exit('no such image')"))


DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
MINT = 'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n'
FEDORA = 'NAME="Fedora Linux"\nID=fedora\n'


class TestEngine:
    @pytest.mark.parametrize(("os_release", "expected"), [(DEBIAN, True), (MINT, True), (FEDORA, False), ("", False)])
    def test_systems_with_apt(self, os_release: str, expected: bool) -> None:
        assert uses_apt(os_release) is expected

    def test_the_client_is_installed_where_it_is_a_package_of_its_own(self) -> None:
        assert engine_packages(has_client=False, has_separate_client=True) == ["docker.io", "iptables", "docker-cli"]
        assert engine_packages(has_client=True, has_separate_client=True) == ["docker.io", "iptables"]
        assert engine_packages(has_client=False, has_separate_client=False) == ["docker.io", "iptables"]

    def test_only_what_is_named_gets_installed(self) -> None:
        assert install_command(["openssl"]) == ["apt-get", "install", "-y", "--no-install-recommends", "openssl"]

    def test_root_on_debian_is_asked_for_nothing(self) -> None:
        assert reason("no docker command", is_root=True, has_engine=False, apt=True) is None
        assert reason("Cannot connect", is_root=True, has_engine=True, apt=False) is None

    @pytest.mark.parametrize(
        ("message", "is_root", "has_engine", "apt", "expected"),
        [
            (
                "no docker command",
                False,
                False,
                True,
                "sudo apt-get install -y --no-install-recommends docker.io iptables",
            ),
            ("no docker command", False, False, False, "https://docs.docker.com/engine/install/"),
            ("no docker command", True, False, False, "https://docs.docker.com/engine/install/"),
            ("Cannot connect to the Docker daemon", False, True, True, "sudo systemctl start docker"),
            ("dial unix: connect: Permission denied", False, True, True, "usermod -aG docker"),
        ],
    )
    def test_a_user_is_told_the_command_to_run(
        self, message: str, is_root: bool, has_engine: bool, apt: bool, expected: str
    ) -> None:
        told = reason(message, is_root=is_root, has_engine=has_engine, apt=apt)
        assert told is not None
        assert expected in told
        assert "\n" not in told

    def test_a_foreign_engine_is_left_alone(self) -> None:
        told = unreachable_reason("Cannot connect", True, True, "tcp://192.0.2.1:2375", True)
        assert told is not None
        assert "DOCKER_HOST=tcp://192.0.2.1:2375" in told


def reason(message: str, *, is_root: bool, has_engine: bool, apt: bool) -> str | None:
    return unreachable_reason(message, is_root, has_engine, "", apt)
