"""Spend of providers and clients in the current month, shared by all replicas through Redis.

Each process writes the whole sum that it has spent itself, so a write that is repeated after a time-out counts once.
The keys carry no expiry: Redis evicts cached answers, never these.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

# Seconds between tries once Redis has failed; no request waits for them.
RETRY_INTERVAL = 2.0
# Seconds for which a request waits for fresh figures when older ones are known; Redis answers in milliseconds.
PATIENCE = 0.05
# The same where nothing is known yet: longer than Redis's own time-outs.
FIRST_PATIENCE = 1.0

_log = logging.getLogger("gateway.spend")


@dataclass(frozen=True)
class Account:
    """Whose spend it is: a provider's or a client's."""

    kind: str
    name: str


class Pipeline(Protocol):
    """What is used of redis-py's pipeline."""

    def hset(self, name: str, key: str, value: str) -> Any:
        """Queue the write of one field."""

    def hgetall(self, name: str) -> Any:
        """Queue the read of all fields."""

    def execute(self) -> Awaitable[list[Any]]:
        """Run what is queued."""


class Redis(Protocol):
    """What is used of redis-py's client."""

    def pipeline(self, *, transaction: bool) -> Pipeline:
        """Return an empty pipeline."""


def month_of(now: datetime) -> str:
    """Return the month that spend at ``now`` counts for, such as ``2026-11``."""
    return now.astimezone(UTC).strftime("%Y-%m")


def next_month(now: datetime) -> datetime:
    """Return the moment at which every budget opens again."""
    utc = now.astimezone(UTC)
    year, month = (utc.year + 1, 1) if utc.month == 12 else (utc.year, utc.month + 1)
    return datetime(year, month, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class SpendStore:
    """What was spent this month, by account.

    A process that cannot reach Redis goes on with what it knew last and its own spend, and writes later. A request
    waits for Redis only until somebody has noticed that it is away.
    """

    def __init__(
        self, redis: Redis, namespace: str, *, only_if_sure: bool = False, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Keep the connection; nothing is asked yet.

        Args:
            redis: the connection.
            namespace: prefix of the keys.
            only_if_sure: whether figures that Redis cannot confirm at the moment count as unknown.
            now: the clock.
        """
        self._redis = redis
        self._only_if_sure = only_if_sure
        self._namespace = namespace
        self._now = now
        self._process = uuid.uuid4().hex
        self._own: dict[str, float] = {}
        self._unwritten: set[str] = set()
        self._others: dict[str, float] = {}
        self._away = False
        self._wanted: set[str] = set()
        self._next_round: asyncio.Future[None] | None = None
        self._work: asyncio.Task[None] | None = None

    def _key(self, account: Account) -> str:
        return f"{self._namespace}:spend:{account.kind}:{account.name}:{month_of(self._now())}"

    async def spent(self, accounts: Sequence[Account]) -> dict[Account, float | None]:
        """Return the spend of accounts in US dollars; None where only a sure figure is wanted and there is none."""
        keys = {account: self._key(account) for account in accounts}
        await self._exchange(list(keys.values()))
        if self._only_if_sure and (self._away or not all(key in self._others for key in keys.values())):
            return dict.fromkeys(accounts)
        return {account: self._others.get(key, 0.0) + self._own.get(key, 0.0) for account, key in keys.items()}

    async def add(self, accounts: Sequence[Account], usd: float) -> None:
        """Count spend, here at once and in Redis as soon as it can be reached."""
        keys = [self._key(account) for account in accounts]
        for key in keys:
            self._own[key] = self._own.get(key, 0.0) + usd
            self._unwritten.add(key)
        await self._exchange(keys)

    async def _exchange(self, keys: Sequence[str]) -> None:
        """Write what is not written yet and read the given keys, without waiting long for it.

        Whoever comes while Redis is being asked shares the next round trip, so a slow Redis makes no queue.
        """
        if self._away:
            return
        self._wanted.update(keys)
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().create_future()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._ask_redis())
        known = all(key in self._others for key in keys)
        await asyncio.wait({self._next_round}, timeout=PATIENCE if known else FIRST_PATIENCE)

    async def _ask_redis(self) -> None:
        while self._next_round is not None:
            this_round, self._next_round = self._next_round, None
            wanted, self._wanted = self._wanted, set()
            self._away = not await self._round_trip(sorted(wanted))
            this_round.set_result(None)
            while self._away:
                await asyncio.sleep(RETRY_INTERVAL)
                self._away = not await self._round_trip(sorted(wanted | self._others.keys()))

    async def _round_trip(self, keys: Sequence[str]) -> bool:
        """Write and read in one go; return whether Redis answered."""
        writing = {key: self._own[key] for key in sorted(self._unwritten)}
        pipeline = self._redis.pipeline(transaction=False)
        for key, usd in writing.items():
            pipeline.hset(key, self._process, repr(usd))
        for key in keys:
            pipeline.hgetall(key)
        try:
            answers = await pipeline.execute()
        except Exception as error:  # noqa: BLE001 - whatever keeps Redis away, requests go on without it
            _log.warning("Redis cannot be asked for spend: %s", type(error).__name__)
            return False
        self._unwritten -= {key for key, usd in writing.items() if self._own[key] == usd}
        for key, fields in zip(keys, answers[len(writing) :], strict=True):
            self._others[key] = sum(float(usd) for process, usd in fields.items() if process != self._process)
        return True
