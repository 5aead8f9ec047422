"""Spend, breakers and containers of a running gateway: what is read from Redis and Docker, and what is printed."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.gateway import status
from plugins.module_utils.gateway.status_page import status_page
from plugins.modules import gateway_status

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
POLICY = {
    "namespace": "llm",
    "providers": {"anthropic": {"monthly_budget_usd": 100.0, "fallback_at_percent": 80}},
    "deployments": {
        "smart/anthropic/claude": "anthropic",
        "fast/openai/gpt": "openai",
        "local/ollama/qwen:2b@box": "ollama",
    },
    "clients": {
        "chat-ui": {"key_hashes": ["0" * 64], "monthly_budget_usd": 20.0},
        "ci": {"key_hashes": ["1" * 64], "monthly_budget_usd": None},
    },
}
WATCHED = status.read_policy(json.dumps(POLICY))
NOTHING_OPEN: list[Any] = [None] * 6


def cooldown(opened: datetime, seconds: float = 60, status_code: str = "503") -> str:
    """Return an entry as LiteLLM 1.108 stores it: Python's text of a dictionary."""
    entry = {"exception_received": 'it\'s "x"', "status_code": status_code, "timestamp": opened.timestamp()}
    return str({**entry, "cooldown_time": seconds})


def spend(*values: list[str]) -> dict[str, dict[str, Any]]:
    report = status.spend_report(WATCHED, [*values, *NOTHING_OPEN])
    return {item["name"]: item for kind in report.values() for item in kind}


def test_the_policy_names_every_provider_that_may_cost_money_and_every_client() -> None:
    assert [(account.kind, account.name) for account in WATCHED.accounts] == [
        ("provider", "anthropic"),
        ("provider", "openai"),
        ("client", "chat-ui"),
        ("client", "ci"),
    ]
    assert (WATCHED.accounts[0].limit_usd, WATCHED.accounts[1].limit_usd) == (80.0, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"namespace": "llm", "providers": [], "deployments": {}}'])
def test_something_else_is_no_policy(text: str) -> None:
    with pytest.raises(status.NotUnderstood, match="not a policy of this gateway"):
        status.read_policy(text)


@pytest.mark.parametrize(
    ("now", "month", "opens"),
    [
        (NOW, "2026-11", "2026-12-01T00:00:00Z"),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), "2026-12", "2027-01-01T00:00:00Z"),
        (datetime(2027, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2026-12", "2027-01-01T00:00:00Z"),
    ],
)
def test_months_are_those_of_utc(now: datetime, month: str, opens: str) -> None:
    assert (status.month_of(now), status.opens_again(now)) == (month, opens)


def test_redis_is_asked_for_each_account_and_for_both_forms_of_each_breaker() -> None:
    questions = status.redis_questions(WATCHED, NOW)
    assert questions[0] == 'HVALS "llm:spend:provider:anthropic:2026-11"'
    assert questions[3] == 'HVALS "llm:spend:client:ci:2026-11"'
    assert questions[4:6] == [
        'GET "deployment:smart/anthropic/claude:cooldown"',
        'GET "llm:deployment:smart/anthropic/claude:cooldown"',
    ]
    assert len(questions) == 10


def test_a_name_cannot_end_a_question() -> None:
    policy = {**POLICY, "deployments": {'a" \\\nFLUSHALL ä': "openai"}}
    questions = status.redis_questions(status.read_policy(json.dumps(policy)), NOW)
    assert r'GET "deployment:a\x22 \x5c\x0aFLUSHALL \xc3\xa4:cooldown"' in questions
    assert not any("\n" in question for question in questions)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ('[]\nerror:"NOAUTH Authentication required."\n', "Redis refuses: NOAUTH Authentication required."),
        ("[]\n", "1 answers to 2 questions"),
        ("[]\nhello\n", "no JSON"),
    ],
)
def test_an_answer_of_redis_that_is_none(output: str, says: str) -> None:
    with pytest.raises(status.NotUnderstood, match=says):
        status.redis_answers(output, ["HVALS a", "GET b"])


def test_the_values_of_all_processes_add_up() -> None:
    found = spend(["50.25", "29.5"], ["3"], [], ["0.5", "1e-3"])
    assert found["anthropic"]["spent_usd"] == 79.75
    assert found["anthropic"]["left_usd"] == 20.25
    assert (found["anthropic"]["state"], found["openai"]["state"]) == ("within budget", "no budget")
    assert (found["chat-ui"]["spent_usd"], found["chat-ui"]["left_usd"]) == (0.0, 20.0)
    assert found["ci"]["spent_usd"] == 0.501


def test_a_provider_without_a_budget_is_counted_too() -> None:
    assert spend([], ["0.25"], [], [])["openai"]["spent_usd"] == 0.25


def test_the_limit_itself_is_used_up() -> None:
    found = spend(["80"], [], ["20.01"], [])
    assert (found["anthropic"]["state"], found["anthropic"]["left_usd"]) == ("used up", 20.0)
    assert (found["chat-ui"]["state"], found["chat-ui"]["left_usd"]) == ("used up", 0.0)


@pytest.mark.parametrize("values", [["x"], ["nan"], ["inf"], 5])
def test_spend_that_is_no_number_is_not_taken_for_one(values: Any) -> None:
    with pytest.raises(status.NotUnderstood, match="spend of provider anthropic"):
        status.spend_report(WATCHED, [values, [], [], [], *NOTHING_OPEN])


def test_without_answers_all_spend_is_unknown() -> None:
    report = status.spend_report(WATCHED, None)
    states = {item["name"]: item["state"] for items in report.values() for item in items}
    assert states == {"anthropic": "unknown", "openai": "no budget", "chat-ui": "unknown", "ci": "no budget"}
    assert {item["spent_usd"] for items in report.values() for item in items} == {None}
    assert report["providers"][0]["monthly_budget_usd"] == 100.0


def breakers(*entries: Any) -> list[dict[str, Any]]:
    return status.breaker_report(WATCHED, [[], [], [], [], *entries], NOW)


def test_an_open_breaker_says_since_when_until_when_and_why() -> None:
    opened = NOW - timedelta(seconds=20)
    for entry in (
        cooldown(opened),
        json.dumps({"timestamp": opened.timestamp(), "cooldown_time": 60, "status_code": 503}),
    ):
        (found,) = breakers(None, None, None, entry, None, None)
        assert found == {
            "deployment": "fast/openai/gpt",
            "since": "2026-11-21T11:59:40Z",
            "until": "2026-11-21T12:00:40Z",
            "seconds_left": 40.0,
            "status_code": "503",
        }


def test_a_breaker_whose_time_is_over_is_closed() -> None:
    assert breakers(cooldown(NOW - timedelta(seconds=61)), *NOTHING_OPEN[1:]) == []


@pytest.mark.parametrize(
    "entry", ["", "{'timestamp': ", "5", "{'timestamp': 'x', 'cooldown_time': 1}", "__import__('os')", 7]
)
def test_an_entry_that_cannot_be_read_is_an_open_breaker_all_the_same(entry: Any) -> None:
    (found,) = breakers(entry, *NOTHING_OPEN[1:])
    assert (found["deployment"], found["until"]) == ("smart/anthropic/claude", None)


def test_the_message_of_a_failure_is_left_out() -> None:
    entry = cooldown(NOW, status_code="sk-planted planted planted planted").replace("it's", "sk-planted")
    (found,) = breakers(entry, *NOTHING_OPEN[1:])
    assert "it" not in found
    assert len(found["status_code"]) <= 20


def inspected(
    name: str, health: str | None = "healthy", started: str = "2026-11-21T08:00:00.123456Z"
) -> dict[str, Any]:
    state: dict[str, Any] = {"Status": "running", "StartedAt": started}
    if health:
        state["Health"] = {"Status": health}
    return {"Name": f"/{name}", "State": state, "RestartCount": 2}


def test_containers_that_are_not_there_are_named() -> None:
    rows = status.container_report([inspected("b"), inspected("a", None, "0001-01-01T00:00:00Z")], ["a", "b", "c", "a"])
    assert [(row["name"], row["state"], row["health"], row["since"]) for row in rows] == [
        ("a", "running", "none", None),
        ("b", "running", "healthy", "2026-11-21T08:00:00Z"),
        ("c", "missing", None, None),
    ]


def test_the_names_of_containers_come_from_the_compose_files() -> None:
    text = "services:\n  redis:\n    container_name: llm-gateway-redis\n    image: x\n  b:\n    container_name: 'b-1'\n"
    assert status.container_names(text) == ["llm-gateway-redis", "b-1"]


def result(answers: list[Any] | None, opened: list[Any] | None = None) -> dict[str, Any]:
    everything = None if answers is None else [*answers, *(opened or NOTHING_OPEN)]
    return {
        "month": "2026-11",
        "opens_again": "2026-12-01T00:00:00Z",
        "redis": {"reachable": answers is not None, "problem": None if answers is not None else "it is stopped"},
        **status.spend_report(WATCHED, everything),
        "breakers": None if everything is None else status.breaker_report(WATCHED, everything, NOW),
        "containers": status.container_report([inspected("llm-gateway-redis")], ["llm-gateway-redis", "llm-gateway-x"]),
    }


def test_the_page() -> None:
    opened = [cooldown(NOW - timedelta(seconds=20)), *NOTHING_OPEN[1:]]
    assert status_page(result([["81.2"], ["0.0042"], ["20"], []], opened)).splitlines() == [
        "Spend of 2026-11 (UTC) in USD; budgets start anew on 2026-12-01 00:00",
        "",
        "  provider    spent  budget   left  falls back from  state",
        "  anthropic   81.20  100.00  18.80     80.00 (80 %)  over: the next model answers until 2026-12-01",
        "  openai     0.0042       -      -                -  no budget",
        "",
        "  client   spent  budget  left  state",
        "  chat-ui  20.00   20.00  0.00  used up: refused until 2026-12-01",
        "  ci        0.00       -     -  no budget",
        "",
        "  open breaker            since     until              why",
        "  smart/anthropic/claude  11:59:40  12:00:40, in 40 s  status 503",
        "",
        "  container          state    health   started           restarts",
        "  llm-gateway-redis  running  healthy  2026-11-21 08:00         2",
        "  llm-gateway-x      missing  -        -                        -",
    ]


def test_the_page_never_prints_zeros_for_what_it_does_not_know() -> None:
    page = status_page(result(None))
    assert "Spend and breakers are unknown: it is stopped" in page
    assert "Breakers: unknown." in page
    assert "0.00 " not in page.replace("100.00 ", "").replace("80.00 ", "").replace("20.00 ", "")
    assert [line.split().count("unknown") for line in page.splitlines() if "anthropic" in line or "ci " in line] == [
        3,
        1,
    ]


def test_the_page_of_a_gateway_without_clients_and_hosted_providers() -> None:
    page = status_page({**result([[], [], [], []]), "providers": [], "clients": []})
    assert "No hosted provider is in use" in page
    assert "make client NAME=app" in page
    assert "All breakers are closed" in page


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a gateway's folder, and a `docker` that answers with the text of files and keeps what it was called with."""
    (tmp_path / "litellm/secrets").mkdir(parents=True)
    (tmp_path / "litellm/secrets/policy.json").write_text(json.dumps(POLICY))
    (tmp_path / "litellm/compose.yml").write_text("    container_name: llm-gateway-litellm-1\n")
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\ncd {tmp_path}\nverb=$1\necho "$*" >>called\n[ "$verb" = exec ] && cat >questions\n'
        "cat $verb.out\ncat $verb.err >&2\nexec sh ./$verb.rc\n"
    )
    docker.chmod(0o755)
    answer(tmp_path, "inspect", json.dumps([inspected("llm-gateway-litellm-1")]))
    answer(tmp_path, "exec", "[]\n" * 4 + "null\n" * 6)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    return tmp_path


def answer(box: Path, verb: str, out: str, err: str = "", end: str = "exit 0") -> None:
    """Set what the box's `docker` says to a verb."""
    for kind, text in {"out": out, "err": err, "rc": end}.items():
        (box / f"{verb}.{kind}").write_text(text)


def look(box: Path) -> dict[str, Any]:
    return gateway_status.look({"deploy_dir": str(box), "redis_container": "llm-gateway-redis", "timeout": 1})


def test_the_module_looks_at_redis_and_the_containers(box: Path) -> None:
    answer(box, "exec", '["1.5"]\n' + "[]\n" * 3 + json.dumps(cooldown(datetime.now(UTC))) + "\nnull" * 5)
    found = look(box)
    assert found["redis"] == {"reachable": True, "problem": None}
    assert found["providers"][0]["spent_usd"] == 1.5
    assert found["breakers"][0]["deployment"] == "smart/anthropic/claude"
    assert found["containers"][0]["health"] == "healthy"
    assert len((box / "questions").read_text().splitlines()) == 10
    assert "$(cat /run/redis-secrets/password)" in (box / "called").read_text()


@pytest.mark.parametrize(
    ("out", "err", "end", "says"),
    [
        ("", "Error response from daemon: container abc is not running\n", "exit 1", "container abc is not running"),
        ("", "", "exit 124", "Redis gave no answer within 1 s"),
        ("", "", "exit 143", "Redis gave no answer within 1 s"),
        ('error:"LOADING Redis is loading"\n', "", "exit 0", "Redis refuses: LOADING"),
        ('["x"]\n' + "[]\n" * 3 + "null\n" * 6, "", "exit 0", "no numbers as spend of provider anthropic"),
    ],
)
def test_a_redis_that_does_not_answer_is_no_failure(box: Path, out: str, err: str, end: str, says: str) -> None:
    answer(box, "exec", out, err, end)
    found = look(box)
    assert not found["redis"]["reachable"]
    assert says in found["redis"]["problem"]
    assert (found["providers"][0]["spent_usd"], found["breakers"]) == (None, None)
    assert found["containers"][0]["state"] == "running"


def test_missing_containers_are_no_failure(box: Path) -> None:
    answer(box, "inspect", "[]\n", "error: no such container: llm-gateway-litellm-1\n", "exit 1")
    assert look(box)["containers"][0]["state"] == "missing"


def test_a_docker_that_does_not_answer_is_one(box: Path) -> None:
    answer(box, "inspect", "[]\n", "Cannot connect to the Docker daemon. Is it running?\n", "exit 1")
    with pytest.raises(gateway_status.Failed, match="Cannot connect to the Docker daemon"):
        look(box)


def test_a_docker_that_hangs_is_left_after_its_time(box: Path) -> None:
    answer(box, "inspect", "", end="exec sleep 20")
    started = time.monotonic()
    with pytest.raises(gateway_status.Failed, match="'docker inspect' gave no answer within 1 s"):
        look(box)
    assert time.monotonic() - started < 5


def test_a_box_without_a_gateway_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(gateway_status.Failed, match=r"no gateway was put on this box\. Run make apply"):
        look(tmp_path)


def test_a_policy_that_is_none_says_where_it_lies(box: Path) -> None:
    (box / "litellm/secrets/policy.json").write_text("{")
    with pytest.raises(gateway_status.Failed, match=r"secrets/policy\.json: it is not a policy"):
        look(box)
