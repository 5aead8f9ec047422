"""What a user reads while a model is on its way, made from the lines that Ollama sends."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from plugins.action import ollama_model as action
from plugins.module_utils.ollama import progress

if TYPE_CHECKING:
    from pathlib import Path

GB = 10**9


def on_its_way(*lines: tuple[float, dict[str, Any]]) -> progress.Progress:
    model = progress.Progress("pulling", "qwen3.5:2b")
    for now_s, line in lines:
        model.add(line, now_s)
    return model


def file_line(completed: int | None, total: int = 2 * GB, digest: str = "sha256:11") -> dict[str, Any]:
    line = {"status": "pulling 11", "digest": digest, "total": total, "completed": completed}
    return {key: value for key, value in line.items() if value is not None}


def shown(model: progress.Progress, now_s: float, since_s: float = 0) -> str:
    return progress.as_line(model.report(now_s), since_s)


def test_size_share_speed_and_time_left_are_told() -> None:
    model = on_its_way((0, {"status": "pulling manifest"}), (0, file_line(None)), (10, file_line(GB // 2)))
    assert shown(model, 10) == "pulling qwen3.5:2b: 500 MB of 2.0 GB, 25 %, 50.0 MB/s, 30 s left"


def test_what_was_there_before_is_no_speed() -> None:
    model = on_its_way((0, file_line(GB)), (10, file_line(GB + 10**8)))
    assert shown(model, 10) == "pulling qwen3.5:2b: 1.1 GB of 2.0 GB, 55 %, 10.0 MB/s, 1 min 30 s left"


def test_the_files_of_a_model_are_added_up() -> None:
    done = file_line(3000, 3000, "sha256:22")
    model = on_its_way((0, file_line(0)), (1, done), (2, file_line(GB)))
    report = model.report(2)
    assert (report["completed_bytes"], report["total_bytes"]) == (GB + 3000, 2 * GB + 3000)


def test_the_speed_is_that_of_the_last_seconds() -> None:
    lines = [(second, file_line(second * 10**8)) for second in range(6)]
    model = on_its_way(*lines, *((second, file_line(5 * 10**8)) for second in range(6, 17)))
    assert shown(model, 16) == "pulling qwen3.5:2b: 500 MB of 2.0 GB, 25 %, nothing arrives"


def test_a_time_of_hours_is_told_in_hours() -> None:
    model = on_its_way((0, file_line(0, 40 * GB)), (10, file_line(4 * 10**7, 40 * GB)))
    assert shown(model, 10).endswith("4.0 MB/s, 2 h 46 min left")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"status": "pulling manifest"}, "pulling qwen3.5:2b (pulling manifest), 12 s so far"),
        ({"status": "verifying sha256 digest"}, "pulling qwen3.5:2b (verifying sha256 digest), 12 s so far"),
    ],
)
def test_without_bytes_ollamas_own_word_is_shown(line: dict[str, Any], text: str) -> None:
    assert shown(on_its_way((0, file_line(GB)), (1, line)), 5, since_s=12) == text


def test_what_sends_no_lines_shows_how_long_it_takes() -> None:
    assert shown(progress.Progress("loading", "qwen3.5:2b"), 5, since_s=75) == "loading qwen3.5:2b, 1 min 15 s so far"


@pytest.mark.parametrize("line", [{}, {"digest": 5, "total": 7}, {"digest": "sha256:11", "total": "7"}, {"total": 7}])
def test_lines_of_another_form_do_no_harm(line: dict[str, Any]) -> None:
    assert on_its_way((0, line)).report(1)["total_bytes"] == 0


def test_the_file_is_its_owners_whole_at_any_time_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    file = progress.ProgressFile(str(path))
    model = progress.Progress("pulling", "qwen3.5:2b")
    file.write(model)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    model.add({"status": "verifying sha256 digest"}, 0)
    file.write(model)
    # What is new is written at once, and the rest once a second.
    assert json.loads(path.read_text())["status"] == "verifying sha256 digest"
    written = path.stat().st_mtime_ns
    file.write(model)
    assert path.stat().st_mtime_ns == written
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_nothing_is_written_or_removed() -> None:
    file = progress.ProgressFile("")
    file.write(progress.Progress("pulling", "qwen3.5:2b"))
    file.remove()


@pytest.fixture(name="printed")
def what_is_printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(action.display, "display", lines.append)
    monkeypatch.setattr(action, "_FIRST_LINE_S", 0.0)
    return lines


def test_a_line_is_read_through_what_a_terminal_adds(printed: list[str]) -> None:
    shown_lines = action.Lines({"inventory_hostname": "box"})
    report = json.dumps(on_its_way((0, file_line(GB // 2)), (10, file_line(GB))).report(10))
    for output in ("", "cat: /x: No such file or directory\r\n", "{half a li", "[WARNING]: {}\r\n"):
        shown_lines.take(output)
    assert printed == []
    shown_lines.take(f"sudo: unable to resolve host box\r\n{report}\r\n")
    assert printed == ["box: pulling qwen3.5:2b: 1.0 GB of 2.0 GB, 50 %, 50.0 MB/s, 20 s left"]
    assert shown_lines.news


def test_what_was_not_heard_of_for_long_is_no_news(printed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown_lines = action.Lines({})
    shown_lines.take(json.dumps(progress.Progress("making", "m").report(0)))
    monkeypatch.setattr(action, "_ASK_ABOUT_JOB_S", 0.0)
    assert not shown_lines.news
    assert len(printed) == 1
