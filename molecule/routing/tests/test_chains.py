"""Who answers when a backend fails: the declared chain, in its order, before the first token of a stream as well."""

from __future__ import annotations

from collections.abc import Iterator

import on_boxes
import pytest
from as_clients import ask_as, ask_many, question, unspoilt_model
from testinfra.host import Host


@pytest.fixture(autouse=True)
def healthy(host: Host) -> Iterator[None]:
    """Leave no fault behind."""
    yield
    on_boxes.provider_fault(host, None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["refuse", "500", "503", "429", "401", "403", "404", "credit"])
def test_the_next_model_answers(host: Host, fault: str, *, stream: bool) -> None:
    on_boxes.provider_fault(host, fault, provider="openai")
    answer = ask_as(host, "app", question(unspoilt_model(), stream=stream))
    assert (answer.status, answer.model) == (200, "general"), answer.text
    assert "error" not in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_the_chain_is_walked_in_its_order_down_to_the_local_model(host: Host, *, stream: bool) -> None:
    on_boxes.provider_fault(host, "500")
    answer = ask_as(host, "app", question(unspoilt_model(), stream=stream))
    assert (answer.status, answer.model) == (200, "local"), answer.text


def test_a_mistake_of_the_client_is_told_to_the_client(host: Host) -> None:
    on_boxes.provider_fault(host, "400", provider="openai")
    answer = ask_as(host, "app", question(unspoilt_model()))
    assert answer.status == 400
    assert "temperature" in answer.error


def test_a_question_that_is_too_long_goes_to_the_model_for_long_ones(host: Host) -> None:
    on_boxes.provider_fault(host, "context", provider="openai", count=1)
    answer = ask_as(host, "app", question(unspoilt_model()))
    assert (answer.status, answer.model) == (200, "long"), answer.text


def test_a_question_that_is_too_long_is_refused_where_no_model_for_long_ones_is_named(host: Host) -> None:
    on_boxes.provider_fault(host, "context", provider="anthropic")
    answer = ask_as(host, "app", question("general"))
    assert answer.status == 400, answer.text
    assert "too long" in answer.error


def test_a_hung_backend_costs_its_first_token_timeout_and_little_more(host: Host) -> None:
    on_boxes.provider_fault(host, "hang", provider="openai")
    answer = ask_as(host, "app", question(unspoilt_model(), stream=True))
    assert (answer.status, answer.model) == (200, "general"), answer.text
    assert 2.0 <= answer.seconds < 3.0


def test_an_answer_that_takes_too_long_is_given_up(host: Host) -> None:
    on_boxes.provider_fault(host, "hang", provider="openai")
    answer = ask_as(host, "app", question(unspoilt_model()))
    assert (answer.status, answer.model) == (200, "general"), answer.text
    assert 10.0 <= answer.seconds < 12.0


def test_a_stream_that_is_cut_in_the_middle_ends_with_an_error_event(host: Host) -> None:
    on_boxes.provider_fault(host, "cut", provider="openai", at="middle")
    answer = ask_as(host, "app", question(unspoilt_model(), stream=True))
    assert answer.status == 200
    assert answer.text.rstrip().splitlines()[-1].startswith('data: {"error"')


def test_with_two_backends_a_dead_one_is_not_noticed(host: Host) -> None:
    on_boxes.provider_fault(host, "refuse", provider="openai")
    answers = ask_many(host, "app", "pair-broken", 12)
    assert {(answer.status, answer.backend) for answer in answers} == {(200, "pair-broken/anthropic/claude-opus-4-5")}


def test_two_healthy_backends_share_the_load(host: Host) -> None:
    backends = [answer.backend for answer in ask_many(host, "app", "pair", 24)]
    assert {"pair/anthropic/claude-opus-4-5", "pair/server/gpt-5.4"} == set(backends)


def test_a_client_may_have_a_fallback_of_its_own(host: Host) -> None:
    on_boxes.provider_fault(host, "500", provider="openai")
    answer = ask_as(host, "own-chain", question("default", stream=True))
    assert (answer.status, answer.model) == (200, "local"), answer.text


@pytest.mark.parametrize(
    ("fault", "status", "model"),
    [
        ("400", 200, "local"),
        ("401", 200, "local"),
        ("403", 200, "local"),
        ("404", 200, "local"),
        ("429", 429, None),
        ("500", 500, None),
        ("503", 503, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_may_choose_which_errors_fall_back(
    host: Host, fault: str, status: int, model: str | None, *, stream: bool
) -> None:
    on_boxes.provider_fault(host, fault, provider="openai")
    answer = ask_as(host, "choosy", question(unspoilt_model(), stream=stream))
    assert (answer.status, answer.model if model else None) == (status, model), answer.text


def test_the_choice_holds_once_the_breaker_is_open(host: Host) -> None:
    on_boxes.provider_fault(host, "401", provider="openai")
    answers = ask_many(host, "choosy", unspoilt_model(), 6)
    assert {(answer.status, answer.model) for answer in answers} == {(200, "local")}
