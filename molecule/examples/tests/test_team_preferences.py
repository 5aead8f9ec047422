"""docs/examples/team-preferences: each organisation has its own first and second choice, and its own errors."""

from __future__ import annotations

import json

import examples
import on_boxes
import pytest
from as_clients import Answer, ask_as, question, redis
from testinfra.host import Host

PORT = 4010
# What `model: default` means, what takes over, and who of the two is hosted.
CLIENTS = {
    "research": ("claude", "gpt"),
    "sales": ("gpt", "local"),
    "workshop": ("local", "gpt"),
}


@pytest.fixture(scope="module", autouse=True)
def _deployed(host: Host) -> None:
    examples.deploy(host, "team-preferences")


@pytest.fixture(autouse=True)
def _nothing_failed_yet(host: Host) -> None:
    examples.forget_failures(host)


def ask(host: Host, client: str, model: str = "default") -> Answer:
    return ask_as(host, client, question(model), port=PORT)


@pytest.mark.parametrize("client", CLIENTS)
def test_each_organisation_has_its_own_default(host: Host, client: str) -> None:
    assert ask(host, client).model == CLIENTS[client][0]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_organisation_gets_embeddings(host: Host, client: str) -> None:
    body = {"model": "embed", "input": ["a text to compare", "another one"]}
    answer = ask_as(host, client, body, "/v1/embeddings", port=PORT)
    assert answer.status == 200, answer.text
    assert [len(entry["embedding"]) for entry in json.loads(answer.text)["data"]] == [768, 768]


@pytest.mark.parametrize("fault", ["400", "401", "403", "404"])
def test_another_model_may_answer_what_is_refused(host: Host, fault: str) -> None:
    on_boxes.provider_fault(host, fault, provider="openai")
    try:
        answer = ask(host, "sales")
    finally:
        on_boxes.provider_fault(host, None)
    assert (answer.status, answer.model) == (200, "local"), answer.text


@pytest.mark.parametrize("fault", ["429", "500", "503"])
def test_overload_and_failure_reach_the_client(host: Host, fault: str) -> None:
    on_boxes.provider_fault(host, fault, provider="openai")
    try:
        answer = ask(host, "sales")
    finally:
        on_boxes.provider_fault(host, None)
    assert answer.status == int(fault), answer.text


def test_each_organisation_has_its_own_fallback(host: Host) -> None:
    on_boxes.provider_fault(host, "404", provider="anthropic")
    try:
        assert ask(host, "research").model == "gpt"
    finally:
        on_boxes.provider_fault(host, None)


def test_a_model_of_others_stays_out_of_reach(host: Host) -> None:
    for client in ("sales", "workshop"):
        assert ask(host, client, "claude").status == 403


def test_each_organisation_has_its_own_budget(host: Host) -> None:
    (key,) = redis(host, "keys", "llm:spend:client:sales:*").split()
    redis(host, "hset", key, "test", "20")
    refused = ask(host, "sales")
    assert refused.status == 429
    assert "monthly budget of client sales is used up" in refused.error
    assert ask(host, "research").status == 200
