"""docs/examples/cost-first: Claude, then GPT, then the box; budgets, a cache, limits of the providers."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from datetime import UTC, datetime

import examples
import on_boxes
import pytest
from as_clients import Answer, ask_as, question, redis
from testinfra.host import Host

PORT = 8001
CLAUDE, GPT, LOCAL = (
    "claude/anthropic/claude-sonnet-4-5",
    "gpt/openai/gpt-5.4",
    "local/ollama/qwen3.5:2b@gateway-1",
)


@pytest.fixture(scope="module", autouse=True)
def _deployed(host: Host) -> None:
    examples.deploy(host, "cost-first")


def ask(host: Host, model: str = "default", text: str = "", **more: object) -> Answer:
    return ask_as(host, "app", question(model, text, **more), port=PORT)


def test_claude_then_gpt_then_the_box(host: Host) -> None:
    answered = [ask(host).backend]
    try:
        on_boxes.provider_fault(host, "500", provider="anthropic")
        answered.append(ask(host).backend)
        on_boxes.provider_fault(host, "refuse")
        answered.append(ask(host).backend)
    finally:
        on_boxes.provider_fault(host, None)
    assert answered == [CLAUDE, GPT, LOCAL]


def test_a_silent_provider_is_left_in_under_three_seconds(host: Host) -> None:
    examples.forget_failures(host)
    on_boxes.provider_fault(host, "hang", provider="anthropic")
    try:
        answer = ask(host, stream=True)
    finally:
        on_boxes.provider_fault(host, None)
    assert (answer.status, answer.backend) == (200, GPT)
    assert answer.seconds < 3


def test_a_question_without_a_stream_waits_thirty_seconds(host: Host) -> None:
    examples.forget_failures(host)
    on_boxes.provider_fault(host, "hang", provider="anthropic")
    try:
        answer = ask(host)
    finally:
        on_boxes.provider_fault(host, None)
    assert (answer.status, answer.backend) == (200, GPT)
    assert 29 < answer.seconds < 32


def test_near_its_budget_a_provider_hands_over_and_nobody_gets_an_error(host: Host) -> None:
    examples.forget_failures(host)
    month = datetime.now(UTC).strftime("%Y-%m")
    keys = {name: f"llm:spend:provider:{name}:{month}" for name in ("anthropic", "openai")}
    # What a replica before this one would have spent.
    redis(host, "hset", keys["anthropic"], "test", "79")
    redis(host, "hset", keys["openai"], "test", "39")
    assert ask(host).backend == CLAUDE
    redis(host, "hset", keys["anthropic"], "test", "80")
    assert ask(host).backend == GPT
    redis(host, "hset", keys["openai"], "test", "40")
    assert ask(host).backend == LOCAL
    status = examples.play("cost-first", "status")
    assert status.rc == 0, status.output
    assert re.search(r"anthropic +80\.\d+.*100", status.output), status.output
    assert re.search(r"openai +40\.\d+.*50", status.output), status.output
    redis(host, "hdel", keys["anthropic"], "test")
    redis(host, "hdel", keys["openai"], "test")
    assert ask(host).backend == CLAUDE


def test_the_same_question_is_answered_from_the_cache_for_an_hour(host: Host) -> None:
    first, second = (ask(host, text="What is asked twice?") for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    assert json.loads(second.text)["id"] == json.loads(first.text)["id"]
    assert 3500 < examples.longest_cached(host, "app") <= 3600


def test_claude_gets_a_hundred_requests_a_minute_and_gpt_fifty(host: Host) -> None:
    # Requests are counted by the minute of the clock, and the tests before this one have used some of this minute's.
    time.sleep(60.5 - datetime.now(UTC).second)
    minute = datetime.now(UTC).minute
    answered = Counter(examples.backends(host, "app", "claude", 170, PORT))
    assert datetime.now(UTC).minute == minute, "too slow to count by the minute"
    # A count that Redis does not take within 0.2 s on a busy machine is the replica's own.
    assert answered[CLAUDE] in range(90, 106)
    assert answered[GPT] in range(40, 54)
    assert answered[LOCAL] == 170 - answered[CLAUDE] - answered[GPT]
