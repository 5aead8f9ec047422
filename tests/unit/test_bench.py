"""The bench reads the runs of the playbooks right, judges its limits, and starts the LiteLLM by hand like a replica."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark import box, cli, load, report, runs, switch
from scripts.benchmark.box import Failed

ROLE = "homelab.llm_gateway"
BESIDE = {"start": 1.5, "ready": 10.0, "questions": 0.5, "litellm-1-5deca37b": 9.0, "litellm-2-7cfac23f": 9.9}


def task(name: str, begin: float, end: float, **result: Any) -> dict[str, Any]:
    times = {"start": f"2026-01-31T12:00:{begin:09.6f}Z", "end": f"2026-01-31T12:00:{end:09.6f}Z"}
    return {"task": {"name": name, "duration": times}, "hosts": {box.BOX: {"changed": False, **result}}}


def plays(**beside: Any) -> list[dict[str, Any]]:
    """The plays of playbooks/models.yml with one task or two for each step."""
    roll = {"action": f"{ROLE}.compose_replicas"}
    return [
        {
            "tasks": [
                task("plan | Make the plan", 2, 4),
                task("Look at what is to be downloaded", 4, 5),
                task(f"{ROLE}.ollama : models | Hold the declared models", 5, 6),
                task(f"{ROLE}.litellm : Run LiteLLM, or remove it", 6, 6.5),
                task(f"{ROLE}.compose_service : install | Write the folder of litellm", 6.75, 7),
                task(f"{ROLE}.compose_service : beside | Start it", 7, 20, **roll, **beside),
                task(f"{ROLE}.compose_service : beside | Let it finish", 20, 24, **roll, seconds={"drain": 3.0}),
            ]
        },
        {"tasks": [task(f"{ROLE}.verify : ask | Ask the gateway", 24, 26, action="gateway_check", seconds=1.9)]},
        {"tasks": [task("plan | Make the plan", 26, 26.5), task(f"{ROLE}.ollama : prune | Remove it", 26.5, 28)]},
    ]


def test_the_steps_of_a_run_add_up_to_the_whole() -> None:
    steps = switch.steps_of(plays(seconds=BESIDE), whole=30)
    assert {name: round(seconds, 6) for name, seconds in steps.items()} == {
        # From the command to the first task, and after the last one.
        "Ansible's own start and end": 4.0,
        "plan": 3.5,
        "Ollama": 2.5,
        # What the tasks that roll take beside the steps they report.
        "files": 3.0,
        "start of the new replicas": 1.5,
        "until they are ready": 10.0,
        "question": 0.5,
        "old replicas drain": 3.0,
        "verify": 2.0,
    }
    assert round(sum(steps.values()), 6) == 30


def test_a_role_that_is_new_to_the_bench_is_not_put_anywhere() -> None:
    with pytest.raises(Failed, match="does not know to which step the role redis belongs"):
        switch.steps_of([{"tasks": [task(f"{ROLE}.redis : Run it", 1, 2)]}], whole=3)


def test_the_start_up_is_that_of_the_slower_replica() -> None:
    assert switch.start_up_of(plays(seconds=BESIDE)) == 11.5


def test_a_run_that_rolled_nothing_is_no_measurement() -> None:
    with pytest.raises(Failed, match="started no replica"):
        switch.start_up_of(plays(seconds={}))


def test_the_run_is_found_among_what_else_ansible_prints() -> None:
    written = json.dumps({"plays": plays(seconds=BESIDE), "stats": {}}, indent=4)
    output = f"[WARNING]: a {{odd}} word\n{written}\n\nTASKS RECAP *****\nplan --- 1.00s\n"
    assert switch.start_up_of(switch.read_run(output)) == 11.5


def test_a_run_without_json_is_shown() -> None:
    with pytest.raises(Failed, match="no JSON:\nok: nothing"):
        switch.read_run("ok: nothing")


def poll(asked: float, answered_by: str, status: int = 200) -> dict[str, Any]:
    return {"asked": asked, "answered": asked + 0.5, "status": status, "answered_by": answered_by}


def test_the_first_answer_by_the_new_model_counts() -> None:
    new = switch.deployment("fast", switch.SECOND)
    polls = [poll(99, "fast/old"), poll(100.0, "", 0), poll(107.0, new), poll(107.5, "fast/old"), poll(108, new)]
    assert switch.first_answer_by(polls, new, begin=100.0) == 7.5


def test_a_new_model_that_never_answers_is_no_measurement() -> None:
    with pytest.raises(Failed, match="No answer came from new; there were fast/old, status 400"):
        switch.first_answer_by([poll(1, "fast/old"), poll(2, "", 400)], "new", begin=0.0)


def test_the_inventory_holds_both_models_whatever_the_alias() -> None:
    declared = {entry["name"]: entry["backends"][0]["model"] for entry in switch.declared(fast=switch.SECOND)}
    assert declared == {"a": switch.FIRST, "b": switch.SECOND, "fast": switch.SECOND}


def switched(whole: float) -> switch.Switch:
    steps = dict.fromkeys(switch.STEPS, 1.0)
    return switch.Switch(whole=whole, first_answer=8.0, start_up=10.0, steps=steps, asked=100, failed=0)


@pytest.mark.parametrize(("wholes", "kept"), [([20, 25, 90], True), ([20, 25.1, 25.2], False)])
def test_the_limit_of_the_switch(wholes: list[float], kept: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert switch.show_switches([switched(whole) for whole in wholes]) is kept
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(f"at most 2.5: {'PASS' if kept else 'OVER'}")


@pytest.mark.parametrize(
    ("judge", "value", "kept"),
    [
        (report.at_most, 1.6, True),
        (report.at_most, 1.61, False),
        (report.at_least, 1.6, True),
        (report.at_least, 1.59, False),
    ],
)
def test_judging(judge: Any, value: float, kept: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge("a figure", value, 1.6) is kept
    printed = capsys.readouterr().out
    assert printed.split()[:3] == ["a", "figure", str(value)]
    assert printed.endswith("PASS\n" if kept else "OVER\n")


def test_a_row_shows_the_median_and_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.show("seconds", [3.0, 1.0, 2.04]) == 2.04
    assert capsys.readouterr().out.split() == ["seconds", "2.0", "s", "of", "3.0,", "1.0,", "2.0"]


def test_litellm_by_hand_is_started_like_a_replica() -> None:
    replica = {
        "Config": {
            "Image": "ghcr.io/berriai/litellm:v1@sha256:00",
            "User": "74040:74040",
            "Env": ["HOME=/tmp", "NO_DOCS=True"],
            "Entrypoint": ["/bin/sh", "/etc/litellm/start.sh"],
            "Cmd": None,
        },
        "HostConfig": {"Binds": ["/opt/secrets:/run/litellm-secrets:ro,z"], "Tmpfs": {"/tmp": ""}},
    }
    command = load.by_hand_command(replica)
    image = command.index("ghcr.io/berriai/litellm:v1@sha256:00")
    assert command[image + 1 :] == ["/etc/litellm/start.sh"]
    options = " ".join(command[:image])
    assert options.startswith("docker run --detach --name llm-bench-by-hand --network llm-gateway --no-healthcheck")
    for option in (
        "--user 74040:74040",
        "--entrypoint /bin/sh",
        "--tmpfs /tmp",
        "--env HOME=/tmp --env NO_DOCS=True",
        "--volume /opt/secrets:/run/litellm-secrets:ro,z",
    ):
        assert option in options


def measured(tmp_path: Path, two: float, hand: float) -> load.Load:
    found = load.Load(box.Playbooks(tmp_path))
    for setup, per_second in ((load.TWO, two), (load.HAND, hand)):
        found.figures[setup, load.LIMIT_CONCURRENCY] += [load.Figures(per_second, 10.0, 20.0, {})] * 2
    return found


def test_the_ratio_of_two_replicas_to_one_by_hand(tmp_path: Path) -> None:
    assert load.bare_ratio(measured(tmp_path, two=90.0, hand=60.0)) == 1.5


def test_the_order_of_the_setups_favours_none() -> None:
    assert load.ORDER[::-1] == load.ORDER
    assert sorted(load.ORDER) == sorted(load.SETUPS * 2)


def test_programs_that_use_little_are_not_named() -> None:
    assert load.spent({"litellm": 14.04, "caddy": 1.26, "sshd": 0.1}) == "litellm 14.0 ms, caddy 1.3 ms"


def test_the_recap_of_a_run() -> None:
    output = "ok=99\nPLAY RECAP ****\nllm-bench-box : ok=30   changed=2    unreachable=0\n"
    assert (runs.recap(output, "ok"), runs.recap(output, "changed")) == (30, 2)


def test_a_command_that_fails_shows_its_words() -> None:
    with pytest.raises(Failed, match=r"ended with status 3\nwhy it failed"):
        box.run("sh", "-c", "echo why it failed >&2; exit 3")


def test_playbooks_run_with_the_users_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CONFIG", "/elsewhere")
    assert (
        box.run("sh", "-c", "echo $ANSIBLE_CONFIG$ANSIBLE_STDOUT_CALLBACK", ANSIBLE_STDOUT_CALLBACK="json") == "json\n"
    )


@pytest.mark.parametrize(
    ("arguments", "part", "count"), [([], None, 3), (["5"], None, 5), (["--part", "load", "1"], "load", 1)]
)
def test_the_command_line(arguments: list[str], part: str | None, count: int) -> None:
    chosen = cli.options(arguments)
    assert (chosen.part, chosen.runs) == (part, count)


def test_every_table_is_printed_even_after_a_limit_is_passed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "machine", lambda: "this machine")
    over = {part: lambda *_, part=part: lambda: print(part, "table") for part in ("runs", "switch")}
    monkeypatch.setattr(cli, "PARTS", over)
    assert cli.measure(["runs", "switch"], 1, tmp_path) is False
    assert "runs table\nswitch table\n" in capsys.readouterr().out
