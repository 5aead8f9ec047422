"""Spend that replicas share through Redis: exact when Redis answers, never in the way when it does not."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from gateway import spend
from gateway.spend import Account, SpendStore, month_of, next_month

CLIENT = Account("client", "app")
PROVIDER = Account("provider", "openai")
NOVEMBER = datetime(2026, 11, 21, 5, tzinfo=UTC)


class FakeRedis:
    """Hashes in memory; can be away, hang, or lose the answer after it has written."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.trouble: str = ""
        self.calls = 0

    def pipeline(self, *, transaction: bool) -> FakePipeline:
        assert not transaction
        return FakePipeline(self)


class FakePipeline:
    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis
        self.queue: list[tuple[str, ...]] = []

    def hset(self, name: str, key: str, value: str) -> None:
        self.queue.append(("hset", name, key, value))

    def hgetall(self, name: str) -> None:
        self.queue.append(("hgetall", name))

    async def execute(self) -> list[Any]:
        self.redis.calls += 1
        if self.redis.trouble == "refused":
            raise ConnectionError
        if self.redis.trouble == "slow":
            await asyncio.sleep(0.1)
        if self.redis.trouble == "hung":
            await asyncio.sleep(0.3)
            raise TimeoutError
        answers: list[Any] = []
        for word, name, *rest in self.queue:
            if word == "hset":
                self.redis.hashes.setdefault(name, {})[rest[0]] = rest[1]
                answers.append(1)
            else:
                answers.append(dict(self.redis.hashes.get(name, {})))
        if self.redis.trouble == "answer lost":
            raise TimeoutError
        return answers


def store(redis: FakeRedis) -> SpendStore:
    return SpendStore(redis, "llm", now=lambda: NOVEMBER)


def test_two_processes_see_the_sum_of_both() -> None:
    async def run() -> tuple[dict[Account, float | None], dict[Account, float | None]]:
        redis = FakeRedis()
        first, second = store(redis), store(redis)
        await first.add([CLIENT, PROVIDER], 0.25)
        await second.add([CLIENT], 0.5)
        return await first.spent([CLIENT, PROVIDER]), await second.spent([CLIENT, PROVIDER])

    assert asyncio.run(run()) == ({CLIENT: 0.75, PROVIDER: 0.25}, {CLIENT: 0.75, PROVIDER: 0.25})


def test_a_process_that_starts_anew_counts_what_the_old_one_spent() -> None:
    async def run() -> dict[Account, float | None]:
        redis = FakeRedis()
        await store(redis).add([CLIENT], 0.25)
        return await store(redis).spent([CLIENT])

    assert asyncio.run(run()) == {CLIENT: 0.25}


def test_a_write_whose_answer_was_lost_counts_once() -> None:
    async def run() -> dict[Account, float | None]:
        redis = FakeRedis()
        one = store(redis)
        redis.trouble = "answer lost"
        await one.add([CLIENT], 0.25)
        redis.trouble = ""
        return await store(redis).spent([CLIENT])

    assert asyncio.run(run()) == {CLIENT: 0.25}


def test_spend_while_redis_is_away_is_written_once_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend, "RETRY_INTERVAL", 0.02)

    async def run() -> tuple[dict[Account, float | None], dict[Account, float | None]]:
        redis = FakeRedis()
        one = store(redis)
        await one.spent([CLIENT])
        redis.trouble = "refused"
        await one.add([CLIENT], 0.25)
        meanwhile = await one.spent([CLIENT])
        redis.trouble = ""
        await asyncio.sleep(0.1)
        return meanwhile, await store(redis).spent([CLIENT])

    assert asyncio.run(run()) == ({CLIENT: 0.25}, {CLIENT: 0.25})


def test_before_redis_has_answered_once_an_account_has_spent_what_this_process_knows() -> None:
    async def run() -> dict[Account, float | None]:
        redis = FakeRedis()
        redis.trouble = "refused"
        return await store(redis).spent([CLIENT])

    assert asyncio.run(run()) == {CLIENT: 0.0}


def test_where_only_sure_figures_count_there_is_none_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend, "RETRY_INTERVAL", 0.02)

    async def run() -> list[float | None]:
        redis = FakeRedis()
        one = SpendStore(redis, "llm", only_if_sure=True, now=lambda: NOVEMBER)
        await one.add([CLIENT], 0.25)
        figures = [(await one.spent([CLIENT]))[CLIENT]]
        redis.trouble = "refused"
        figures.append((await one.spent([CLIENT]))[CLIENT])
        redis.trouble = ""
        await asyncio.sleep(0.1)
        return [*figures, (await one.spent([CLIENT]))[CLIENT]]

    assert asyncio.run(run()) == [0.25, None, 0.25]


def test_where_only_sure_figures_count_a_replica_that_starts_without_redis_has_none() -> None:
    async def run() -> dict[Account, float | None]:
        redis = FakeRedis()
        redis.trouble = "refused"
        return await SpendStore(redis, "llm", only_if_sure=True).spent([CLIENT])

    assert asyncio.run(run()) == {CLIENT: None}


def test_a_hung_redis_costs_a_request_little_and_the_next_ones_nothing() -> None:
    async def run() -> tuple[float, float, int]:
        redis = FakeRedis()
        one = store(redis)
        await one.spent([CLIENT])
        redis.trouble = "hung"
        begin = time.monotonic()
        await one.spent([CLIENT])
        first = time.monotonic() - begin
        await asyncio.sleep(0.4)
        begin = time.monotonic()
        for _ in range(50):
            await one.spent([CLIENT])
        return first, time.monotonic() - begin, redis.calls

    first, rest, calls = asyncio.run(run())
    assert first < 0.15
    assert rest < 0.1
    assert calls == 2


def test_a_slow_redis_makes_no_queue() -> None:
    async def run() -> tuple[float, int]:
        redis = FakeRedis()
        one = store(redis)
        await one.spent([CLIENT])
        redis.trouble = "slow"
        for _ in range(30):
            await asyncio.gather(one.spent([CLIENT]), one.add([CLIENT], 0.01))
        begin = time.monotonic()
        await one.spent([Account("client", "never seen before")])
        return time.monotonic() - begin, redis.calls

    seconds, calls = asyncio.run(run())
    assert seconds < 0.5
    assert calls < 30


def test_a_process_that_starts_while_redis_hangs_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend, "RETRY_INTERVAL", 0.02)

    async def run() -> float:
        redis = FakeRedis()
        redis.trouble = "hung"
        one = store(redis)
        await one.spent([CLIENT])
        begin = time.monotonic()
        for _ in range(20):
            await one.spent([CLIENT])
            await asyncio.sleep(0.02)
        return time.monotonic() - begin

    assert asyncio.run(run()) < 0.7


def test_a_new_month_begins_at_zero() -> None:
    async def run() -> list[float | None]:
        redis = FakeRedis()
        moments = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC)]
        one = SpendStore(redis, "llm", now=lambda: moments[0])
        await one.add([CLIENT], 3.0)
        before = (await one.spent([CLIENT]))[CLIENT]
        moments[0] = datetime(2026, 12, 1, tzinfo=UTC)
        return [before, (await one.spent([CLIENT]))[CLIENT]]

    assert asyncio.run(run()) == [3.0, 0.0]


def test_months_are_those_of_utc() -> None:
    assert month_of(datetime.fromisoformat("2026-12-01T00:30:00+01:00")) == "2026-11"
    assert next_month(datetime(2026, 12, 31, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(NOVEMBER) == datetime(2026, 12, 1, tzinfo=UTC)


def test_the_key_names_namespace_kind_name_and_month_and_has_no_expiry() -> None:
    redis = FakeRedis()
    asyncio.run(store(redis).add([PROVIDER], 1.0))
    assert list(redis.hashes) == ["llm:spend:provider:openai:2026-11"]
