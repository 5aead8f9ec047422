"""Budgets: the next model answers when a provider's is used up, a client is told; both outlive restarts."""

from __future__ import annotations

import re

import on_boxes
from as_clients import ask_as, ask_many, question, redis
from testinfra.host import Host

# What the stand-in's answer to a question of the tests costs at the declared price, in US dollars.
PRICE = 0.02


def spent(host: Host, account: str) -> float:
    """Return what an account such as ``client:poor`` has spent this month, in US dollars."""
    (key,) = redis(host, "keys", f"llm:spend:{account}:*").split()
    return sum(float(value) for value in redis(host, "hvals", key).split())


def test_a_client_is_told_which_budget_is_used_up_and_when_it_opens_again(host: Host) -> None:
    answers = ask_many(host, "poor", "paid", 12)
    answered = [answer.status for answer in answers].index(429)
    # 0.10 USD, and what was under way: the spend is booked after the answer.
    assert 0.1 / PRICE - 1 <= answered <= 0.1 / PRICE + 3
    refused = answers[-1]
    assert refused.status == 429
    assert re.search(r"monthly budget of client poor is used up: 0\.1\d of 0\.10 USD", refused.error)
    assert re.search(r"opens again on \d{4}-\d\d-01 at 00:00 UTC", refused.error)
    assert 0 < int(refused.headers["retry-after"]) <= 31 * 86400
    assert ask_as(host, "poor", None, "/v1/models").status == 200
    assert ask_as(host, "other", question("paid")).status == 200


def test_a_local_model_is_free(host: Host) -> None:
    before = redis(host, "keys", "llm:spend:*")
    assert ask_as(host, "local-only", question("local")).status == 200
    assert "local-only" not in redis(host, "keys", "llm:spend:*"), before


def test_at_its_share_of_the_budget_a_provider_is_left_out_and_nobody_gets_an_error(host: Host) -> None:
    answers = ask_many(host, "app", "paid", 50)
    assert {answer.status for answer in answers} == {200}
    models = [answer.model for answer in answers]
    switched = models.index("local")
    assert set(models[switched:]) == {"local"}
    on_boxes.wait_until(lambda: 0.8 <= spent(host, "provider:openai") < 0.8 + 3 * PRICE, 5, "the spend is booked")
    stream = ask_as(host, "app", question("paid", stream=True))
    assert (stream.status, stream.model) == (200, "local")


def test_without_a_fallback_the_message_names_the_provider_and_its_budget(host: Host) -> None:
    refused = ask_as(host, "app", question("solo"))
    assert refused.status == 429
    assert "monthly budget of provider openai is used up" in refused.error


def test_the_spend_outlives_redis_and_litellm_and_their_kill(host: Host) -> None:
    before = spent(host, "provider:openai"), spent(host, "client:poor")
    host.check_output("docker kill llm-gateway-redis && docker start llm-gateway-redis")
    host.check_output(f"docker restart {' '.join(on_boxes.REPLICAS)}")
    on_boxes.wait_until_healthy(host, "llm-gateway-redis", *on_boxes.REPLICAS)
    on_boxes.wait_until(lambda: ask_as(host, "app", None, "/v1/models").status == 200, 30, "the gateway answers")
    assert (spent(host, "provider:openai"), spent(host, "client:poor")) == before
    assert ask_as(host, "app", question("paid")).model == "local"
    assert ask_as(host, "poor", question("paid")).status == 429


def test_spend_and_limits_outlive_a_redis_full_of_answers(host: Host) -> None:
    before = spent(host, "provider:openai")
    limit = int(redis(host, "config", "get", "maxmemory").split()[1])
    redis(host, "config", "set", "maxmemory", str(figure(host, "memory", "used_memory") + 4_000_000))
    try:
        store_answers(host, 2000)
        full = figure(host, "stats", "evicted_keys")
        assert full > 500
        assert [answer.status for answer in ask_many(host, "few-requests", "local", 3)] == [200] * 3
        store_answers(host, 500)
        assert figure(host, "stats", "evicted_keys") >= full + 400
        assert ask_as(host, "few-requests", question("local")).status == 429
        assert spent(host, "provider:openai") == before
        assert ask_as(host, "poor", question("paid")).status == 429
    finally:
        redis(host, "config", "set", "maxmemory", str(limit))
        redis(host, "del", "filled")


def store_answers(host: Host, number: int) -> None:
    """Fill Redis with answers that have a lifetime, as the cache does."""
    one = "redis.call('set', 'llm:answers:x:' .. redis.call('incr', 'filled'), string.rep('x', 4000), 'EX', 300)"
    redis(host, "-r", str(number), "eval", one, "0")


def figure(host: Host, section: str, name: str) -> int:
    """Return a figure of Redis about itself."""
    found = re.search(rf"^{name}:(\d+)", redis(host, "info", section), re.MULTILINE)
    assert found
    return int(found[1])


def test_the_status_page_tells_spend_and_what_is_left(host: Host) -> None:
    run = on_boxes.play("status")
    assert run.rc == 0, run.output
    assert re.search(r"openai +0\.8\d", run.output), run.output
    assert re.search(r"poor +0\.1\d", run.output), run.output
    assert not on_boxes.shown_secrets(run)
    assert spent(host, "provider:openai") >= 0.8
