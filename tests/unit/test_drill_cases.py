"""The cases of a drill against a gateway in memory: a breaker, a chain, budgets and limits, on a clock of its own."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from plugins.module_utils.catalog.plan import make_plan
from plugins.module_utils.drill import cases
from plugins.module_utils.drill.asking import Answer
from plugins.module_utils.drill.cases import Case, Drill
from plugins.module_utils.drill.figures import Limits, Result
from tests.unit.catalog_samples import declaration
from tests.unit.test_drill_plan import drilled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

LIMITS = Limits(0.3, 2.5, 0.05, 0.1, 0.7, 3, 0, 0.5)
ONE = "drill-first"
TITLES = {name: name.replace("_", " ") for name in cases.NAMES}
HEALTHY = 0.02
CHAINS = {
    "drill-cloud": [("drill-cloud", ONE), ("drill-standby", "drill-second")],
    "drill-standby": [("drill-standby", "drill-second")],
    "drill-pair": [("drill-pair", ONE), ("drill-pair", "drill-second"), ("drill-standby", "drill-second")],
    "drill-budgeted": [("drill-budgeted", "drill-budget"), ("drill-standby", "drill-second")],
    "drill-local": [("drill-local", "ollama"), ("drill-standby", "drill-second")],
    "small": [("small", "ollama")],
    "smart": [("smart", "anthropic"), ("general", "openai")],
    "general": [("general", "openai")],
}


class Blind(defaultdict[str, float]):
    """Spend that nobody sees."""

    def __getitem__(self, key: str) -> float:
        return 0.0


class Gateway:
    """A gateway in memory: replica, stand-in for providers and containers in one. The attributes spoil it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lock = threading.Lock()
        self.faults: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.open_until: dict[str, float] = {}
        self.requests: Counter[str] = Counter()
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.away: dict[str, str] = {}
        self.done: list[str] = []
        self.cooldown = 10.0
        self.opens_at = 3
        self.refused_extra = 0.05
        self.open_extra = 0.01
        self.hang_timeout = 2.05
        self.redis_extra = {"stopped": 0.03, "paused": 0.6}
        self.slow_without_redis = 2
        self.silent_cut = False
        self.no_fallback = False
        self.retry_after: str | None = "60"
        self.requests_a_minute = 3
        self.first_token = 0.1
        self.failures_under_load = 0
        self.never_recovers = False

    def pause(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds

    def clock(self) -> float:
        return self.now

    def drill(self) -> Drill:
        return Drill(
            self, self, self, LIMITS, self.cooldown, load_rate=20, load_seconds=2, pause=self.pause, clock=self.clock
        )

    def set_faults(self, faults: Mapping[str, str]) -> None:
        self.faults = dict(faults)

    def hits(self) -> dict[str, int]:
        return {ONE: self.asked[ONE]}

    def ask(self, model: str, client: str, *, stream: bool = False, timeout: float = 30.0) -> Answer:
        with self.lock:
            assert timeout >= 30
            refusal = self._refusal(client)
            return refusal or self._answer(model, client, stream)

    def _refusal(self, client: str) -> Answer | None:
        self.requests[client] += 1
        if client == "drill-limited" and self.requests[client] > self.requests_a_minute:
            return Answer(429, HEALTHY, complete=True, error="Rate limit exceeded", retry_after=self.retry_after)
        if client == "drill-spending" and self.spent[client] >= 0.04:
            return Answer(429, HEALTHY, complete=True, error="The monthly budget is used up", retry_after="900")
        return None

    def _answer(self, model: str, client: str, stream: bool) -> Answer:
        waited = HEALTHY + self._without_redis()
        if self.failures_under_load and self.faults:
            self.failures_under_load -= 1
            return Answer(503, waited, complete=True, error="no Redis")
        for name, provider in CHAINS[model]:
            backend = f"drill/{name}/{provider}"
            if self.open_until.get(backend, -1.0) > self.now:
                waited += self.open_extra
                continue
            if provider == "drill-budget" and self.spent[provider] >= 0.04:
                continue
            fault = "refuse" if provider == "ollama" and "ollama" in self.away else self.faults.get(provider, "")
            self.asked[provider] += fault != "refuse"
            if fault == "cut":
                error = "" if self.silent_cut else "the stream broke off"
                return Answer(200, waited, backend=backend, begun=True, error=error)
            if not fault:
                self.spent[provider] += 0.015
                self.spent[client] += 0.015
                waited = self.first_token if stream and not self.faults else waited
                return Answer(200, waited, backend=backend, complete=True, begun=stream)
            waited += self.hang_timeout if fault == "hang" else self.refused_extra
            self._fail(backend)
            if self.no_fallback:
                break
        return Answer(503, waited, complete=True, error="nobody is left")

    def _fail(self, backend: str) -> None:
        self.failed[backend] += 1
        if self.failed[backend] >= self.opens_at:
            self.failed[backend] = 0
            self.open_until[backend] = self.now + (1e6 if self.never_recovers else self.cooldown)

    def _without_redis(self) -> float:
        how = self.away.get("redis")
        if how is None:
            return 0.0
        self.requests["without redis"] += 1
        return self.redis_extra[how] if self.requests["without redis"] <= self.slow_without_redis else 0.0

    def reaches_redis(self, admin: str) -> bool:
        assert admin == "admin"
        return "redis" not in self.away

    @contextmanager
    def _gone(self, container: str, how: str) -> Iterator[None]:
        name = container.removeprefix("llm-gateway-")
        self.away[name] = how
        try:
            yield
        finally:
            del self.away[name]
            self.done.append(f"{name} back")

    def stopped(self, container: str) -> AbstractContextManager[None]:
        return self._gone(container, "stopped")

    def paused(self, container: str) -> AbstractContextManager[None]:
        return self._gone(container, "paused")

    def restart(self, container: str) -> None:
        self.done.append(f"restart {container}")

    def wait_until_healthy(self, container: str) -> None:
        assert container.removeprefix("llm-gateway-") not in self.away

    def forget(self, redis: str, namespace: str) -> None:
        assert (redis, namespace) == ("llm-gateway-redis", "drill")
        self.spent.clear()
        self.done.append("forgot")


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def run(gateway: Gateway, name: str, **more: object) -> Result:
    return gateway.drill().run(Case(name, TITLES[name], **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["refused", "error_500", "error_429", "hang", "cut", "ollama_stopped"])
def test_a_gateway_that_falls_back_passes(gateway: Gateway, name: str) -> None:
    result = run(gateway, name)
    assert result.as_dict()["failures"] == []
    assert result.passed
    assert result.healthy_seconds is not None
    assert len(result.first_seconds) == 3
    assert result.recovery_seconds is not None
    assert gateway.faults == {}


@pytest.mark.parametrize(
    "name", ["redis_stopped", "redis_hung", "provider_budget", "client_budget", "client_limit", "load", "streams"]
)
def test_a_gateway_that_keeps_its_other_promises_passes(gateway: Gateway, name: str) -> None:
    result = run(gateway, name)
    assert result.as_dict()["failures"] == []
    assert result.seen
    assert gateway.away == {}


def test_every_case_of_a_plan_can_be_run(gateway: Gateway) -> None:
    planned = drilled(make_plan(declaration()))["cases"]
    chains = [entry for entry in planned if entry["name"].startswith("chain") and entry["model"] == "smart"]
    assert len(chains) == 2
    assert {entry["name"] for entry in planned} == set(cases.NAMES)
    for entry in chains:
        result = gateway.drill().run(cases.case_of(entry))
        assert result.as_dict()["failures"] == []
        assert result.notes == ["answered by general/openai"]


def test_times_are_those_of_the_requests(gateway: Gateway) -> None:
    result = run(gateway, "hang")
    assert result.first_seconds == pytest.approx([HEALTHY + 2.05] * 3)
    assert result.open_seconds == pytest.approx(HEALTHY + 0.01)
    assert result.recovery_seconds == pytest.approx(10, abs=1)
    assert result.seen == {"200": 8}


@pytest.mark.parametrize(
    ("name", "spoilt", "value", "says"),
    [
        ("refused", "refused_extra", 0.31, "refused_extra_seconds"),
        ("refused", "open_extra", 0.08, "open_extra_seconds"),
        ("refused", "no_fallback", True, "request 1 ended with 503"),
        ("error_500", "opens_at", 5, "the provider was asked 5 times, not 3"),
        ("error_429", "never_recovers", True, "model drill-cloud is not healthy"),
        ("hang", "hang_timeout", 4.0, "hang_first_seconds"),
        ("cut", "silent_cut", True, "stream 1 ended without a word about the cut: 200, then silence"),
        ("ollama_stopped", "refused_extra", 2.0, "refused_extra_seconds"),
        ("redis_stopped", "redis_extra", {"stopped": 0.2}, "redis_stopped_extra_seconds"),
        ("redis_hung", "redis_extra", {"paused": 0.9}, "redis_hung_extra_seconds"),
        ("redis_hung", "slow_without_redis", 4, "redis_hung_slow_requests"),
        ("client_limit", "retry_after", None, "no Retry-After"),
        ("client_limit", "requests_a_minute", 2, "request 3 was refused, though 3 are allowed"),
        ("client_limit", "requests_a_minute", 5, "5 requests were answered, though 3 are allowed"),
        ("client_limit", "requests_a_minute", 99, "client drill-limited was still answered after 9 requests"),
        ("load", "failures_under_load", 2, "failed requests: 2 of 40, at most 0 of 40 (load_failed)"),
        ("streams", "first_token", 0.6, "first_token_p95_seconds"),
    ],
)
def test_a_gateway_that_breaks_a_promise_fails(
    gateway: Gateway, name: str, spoilt: str, value: object, says: str
) -> None:
    assert hasattr(gateway, spoilt)
    setattr(gateway, spoilt, value)
    result = run(gateway, name)
    assert not result.passed
    assert says in "\n".join(result.as_dict()["failures"])
    assert gateway.faults == {}


def test_a_budget_left_over_from_an_earlier_drill_is_forgotten_first(gateway: Gateway) -> None:
    gateway.spent.update({"drill-budget": 9.0, "drill-spending": 9.0})
    assert run(gateway, "provider_budget").notes == [
        "budget 0.04 USD, an answer 0.015 USD: 3 answers, then the fallback"
    ]
    gateway.spent.update({"drill-spending": 9.0})
    assert (
        run(gateway, "client_budget").notes[0].startswith("budget 0.04 USD, an answer 0.015 USD: 3 answers, then 429")
    )


def test_a_budget_that_nobody_watches_is_found(gateway: Gateway) -> None:
    gateway.spent = Blind(float)
    assert "was still asked after 8 requests" in run(gateway, "provider_budget").problems[0]
    assert "was still answered after 8 requests" in run(gateway, "client_budget").problems[0]


def test_a_chain_without_anybody_else_is_noted_and_no_failure(gateway: Gateway) -> None:
    result = run(gateway, "chain_refused", model="general", providers=("openai",))
    assert result.passed
    assert result.notes == ["nobody else answers for it: all of its chain is at the same providers"]
    assert result.seen == {"503": 1}


def test_a_chain_that_does_not_take_over_is_found(gateway: Gateway) -> None:
    gateway.no_fallback = True
    result = run(gateway, "chain_refused", model="smart", providers=("anthropic",), answering=("general",))
    assert "nobody of its chain took over: 503" in result.problems[0]


def test_declared_models_are_asked_while_ollama_is_stopped(gateway: Gateway) -> None:
    result = run(gateway, "ollama_stopped", chain=("small",))
    assert result.problems == ["model small: nobody of its chain took over: 503 (nobody is left)"]
    assert gateway.done[-1] == "ollama back"


def test_faults_are_taken_back_when_a_case_breaks_off(gateway: Gateway) -> None:
    def broken(_self: Gateway) -> dict[str, int]:
        if gateway.faults:
            raise RuntimeError("planted")
        return {ONE: 0}

    gateway.hits = broken.__get__(gateway)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="planted"):
        run(gateway, "refused")
    assert gateway.faults == {}


def test_redis_is_restarted_in_the_middle_of_the_load(gateway: Gateway) -> None:
    result = run(gateway, "load")
    assert gateway.done == ["restart llm-gateway-redis"]
    assert result.seen == {"200": 40}
