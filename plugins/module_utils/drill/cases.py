"""The cases of a drill: each makes one thing fail, asks as a client does, and puts it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .figures import Check, Limits, Result, amount, median, percentile
from .plan import (
    ADMIN,
    ANSWER_PRICE_USD,
    BUDGET_PROVIDER,
    BUDGET_USD,
    BUDGETED,
    CLIENT,
    CLOUD,
    FIRST_PROVIDER,
    FIRST_TOKEN_TIMEOUT_SECONDS,
    LIMITED_CLIENT,
    LOCAL,
    NAMESPACE,
    OLLAMA,
    PAIR,
    REQUESTS_A_MINUTE,
    SECOND_PROVIDER,
    SPENDING_CLIENT,
    STANDBY,
    deployment_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from .asking import Answer

HEALTHY_REQUESTS = 9
FAILURES_TO_OPEN = 3
OPEN_REQUESTS = 5
REDIS_STOPPED_REQUESTS = 10
# Long enough to meet whoever tries a hung Redis again every few seconds.
REDIS_HUNG_REQUESTS = 40
STREAM_CLIENTS = 10
STREAMS_EACH = 10
LOAD_THREADS = 60

_POLL_SECONDS = 0.2
_RECOVERY_MARGIN_SECONDS = 10.0
# LiteLLM itself may stay away from a Redis that was gone for up to a minute.
_REDIS_RECOVERY_SECONDS = 75.0
_MAX_BUDGET_REQUESTS = 8
# Spend is booked after the answer has gone out.
_BOOKING_SECONDS = 0.3

REFUSE, HANG, CUT = "refuse", "hang", "cut"


class Unfinished(Exception):
    """A case cannot be measured. The message says why."""


class AsksModels(Protocol):
    """A replica of LiteLLM, or a stand-in for one."""

    def ask(self, model: str, client: str, *, stream: bool = False, timeout: float = 30.0) -> Answer:
        """Ask a model a short question."""

    def reaches_redis(self, admin: str) -> bool:
        """Tell whether it reaches Redis."""


class Providers(Protocol):
    """The stand-in for providers."""

    def set_faults(self, faults: Mapping[str, str]) -> None:
        """Replace all faults."""

    def hits(self) -> dict[str, int]:
        """Return the requests by provider."""


class Containers(Protocol):
    """What stops and starts containers."""

    def stopped(self, container: str) -> AbstractContextManager[None]:
        """Stop a container while the block runs."""

    def paused(self, container: str) -> AbstractContextManager[None]:
        """Freeze a container while the block runs."""

    def restart(self, container: str) -> None:
        """Stop and start a container."""

    def wait_until_healthy(self, container: str) -> None:
        """Wait for a container."""

    def forget(self, redis: str, namespace: str) -> None:
        """Remove every key of a namespace."""


@dataclass(frozen=True)
class Case:
    """One case of the drill's plan.

    Attributes:
        name: which case.
        title: the case in words.
        model: the declared model whose chain is drilled.
        providers: who fails for it.
        answering: models of its chain that others answer for.
        hang_seconds: time-outs that pass until those are asked.
        chain: further declared models that are asked once.
        wait_seconds: how long the model may take to be ready, such as to load from disk.
    """

    name: str
    title: str
    model: str = ""
    providers: tuple[str, ...] = ()
    answering: tuple[str, ...] = ()
    hang_seconds: float = 0.0
    chain: tuple[str, ...] = ()
    wait_seconds: float = 0.0


@dataclass
class Drill:
    """Everything a case needs.

    Attributes:
        replica: who is asked.
        providers: who fails.
        engine: what stops containers.
        limits: what is allowed.
        cooldown_seconds: how long a breaker stays open.
        redis: Redis's container.
        ollama: Ollama's container.
        load_rate: requests a second under steady load.
        load_seconds: length of the steady load.
        pause: waits for a number of seconds.
        clock: tells seconds.
    """

    replica: AsksModels
    providers: Providers
    engine: Containers
    limits: Limits
    cooldown_seconds: float
    redis: str = "llm-gateway-redis"
    ollama: str = "llm-gateway-ollama"
    load_rate: float = 20.0
    load_seconds: float = 60.0
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def run(self, case: Case) -> Result:
        """Run one case.

        Raises:
            Exception: what keeps it from being run at all; faults are taken back even then.
        """
        result = Result(case.name, case.title)
        try:
            _CASES[case.name](self, case, result)
        except Unfinished as reason:
            result.problems.append(str(reason))
        finally:
            self.providers.set_faults({})
        return result

    @contextmanager
    def fault(self, fault: str, *providers: str) -> Iterator[None]:
        """Let providers fail while the block runs."""
        self.providers.set_faults(dict.fromkeys(providers, fault))
        try:
            yield
        finally:
            self.providers.set_faults({})

    def ask(
        self,
        model: str,
        *,
        stream: bool = False,
        client: str = CLIENT,
        result: Result | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Ask once, and note in the result what the client saw."""
        answer = self.replica.ask(model, client, stream=stream, timeout=timeout)
        if result is not None:
            result.saw(answer.seen)
        return answer

    def settle(self, model: str, backends: Sequence[str] = (), *, stream: bool = False, seconds: float = 0.0) -> float:
        """Ask until one of the backends answers; return how many seconds that took.

        Raises:
            Unfinished: none did in time, which is the time that a breaker stays open and some more.
        """
        started = self.clock()
        allowed = self.cooldown_seconds + _RECOVERY_MARGIN_SECONDS + seconds
        while True:
            answer = self.ask(model, stream=stream, timeout=max(30.0, seconds))
            waited = self.clock() - started
            if answer.good and (not backends or answer.backend in backends):
                return waited
            if waited > allowed:
                said = answer.error or f"answered by {answer.backend}"
                raise Unfinished(f"model {model} is not healthy after {waited:.0f} s: {answer.seen}, {said}")
            self.pause(_POLL_SECONDS)

    def healthy(self, model: str, *, stream: bool = False) -> float:
        """Return the median time of an answer while nothing fails.

        Raises:
            Unfinished: an answer was an error all the same.
        """
        answers = [self.ask(model, stream=stream) for _ in range(HEALTHY_REQUESTS)]
        bad = next((answer for answer in answers if not answer.good), None)
        if bad is not None:
            raise Unfinished(f"model {model} fails before anything was done to it: {bad.seen}, {bad.error}")
        return median([answer.waited for answer in answers])


def _fall_back(drill: Drill, result: Result, model: str, expected: str, *, stream: bool = False) -> list[float]:
    """Ask as often as opens a breaker and then some; return the times of the first requests."""
    answers = [drill.ask(model, stream=stream, result=result) for _ in range(FAILURES_TO_OPEN + OPEN_REQUESTS)]
    for number, answer in enumerate(answers, 1):
        if not answer.good:
            result.problems.append(
                f"request {number} ended with {answer.seen} and not on the fallback ({answer.error})"
            )
        elif answer.backend != expected:
            result.problems.append(f"request {number} was answered by {answer.backend}, not by the fallback")
    times = [answer.waited for answer in answers]
    result.first_seconds = times[:FAILURES_TO_OPEN]
    result.open_seconds = median(times[FAILURES_TO_OPEN:])
    return result.first_seconds


def _hold_open_time(drill: Drill, result: Result, healthy: float) -> None:
    if result.open_seconds is not None:
        extra = result.open_seconds - healthy
        name = "open_extra_seconds"
        result.checks.append(Check(name, "extra time once open", extra, drill.limits.open_extra_seconds))


def _provider_fails(drill: Drill, result: Result, fault: str, *, stream: bool = False) -> None:
    """Measure the way past a provider that fails and back."""
    own = deployment_id(CLOUD, FIRST_PROVIDER)
    drill.settle(CLOUD, [own], stream=stream)
    drill.settle(STANDBY, stream=stream)
    healthy = result.healthy_seconds = drill.healthy(CLOUD, stream=stream)
    before = drill.providers.hits()[FIRST_PROVIDER]
    with drill.fault(fault, FIRST_PROVIDER):
        first = _fall_back(drill, result, CLOUD, deployment_id(STANDBY, SECOND_PROVIDER), stream=stream)
        hits = drill.providers.hits()[FIRST_PROVIDER] - before
    if fault == HANG:
        limit = drill.limits.hang_first_seconds
        result.checks.append(Check("hang_first_seconds", "first request", first[0], limit))
    else:
        limit = drill.limits.refused_extra_seconds
        result.checks.append(
            Check("refused_extra_seconds", "extra time of the first request", first[0] - healthy, limit)
        )
    _hold_open_time(drill, result, healthy)
    # A connection that is refused leaves nothing to count.
    if fault != REFUSE and hits != FAILURES_TO_OPEN:
        result.problems.append(f"the provider was asked {hits} times, not {FAILURES_TO_OPEN}: the breaker is at fault")
    result.recovery_seconds = drill.settle(CLOUD, [own], stream=stream)


def _refused(drill: Drill, _case: Case, result: Result) -> None:
    _provider_fails(drill, result, REFUSE)


def _error_500(drill: Drill, _case: Case, result: Result) -> None:
    _provider_fails(drill, result, "500")


def _error_429(drill: Drill, _case: Case, result: Result) -> None:
    _provider_fails(drill, result, "429")


def _hang(drill: Drill, _case: Case, result: Result) -> None:
    # A stream, as only that is held to the time of the first token.
    _provider_fails(drill, result, HANG, stream=True)


def _cut(drill: Drill, _case: Case, result: Result) -> None:
    """Cut streams in the middle: words that are out cannot be taken back, but a client must be told."""
    own = deployment_id(CLOUD, FIRST_PROVIDER)
    drill.settle(CLOUD, [own], stream=True)
    result.healthy_seconds = drill.healthy(CLOUD, stream=True)
    with drill.fault(CUT, FIRST_PROVIDER):
        answers = [drill.ask(CLOUD, stream=True, result=result) for _ in range(FAILURES_TO_OPEN)]
    result.first_seconds = [answer.waited for answer in answers]
    for number, answer in enumerate(answers, 1):
        if not answer.good and not answer.error:
            result.problems.append(f"stream {number} ended without a word about the cut: {answer.seen}")
    result.recovery_seconds = drill.settle(CLOUD, [own], stream=True)


def _chain_fails(drill: Drill, case: Case, result: Result, fault: str) -> None:
    """Ask a declared model once while its own providers fail."""
    stream = fault == HANG
    for model in (case.model, *case.answering[:1]):
        drill.settle(model, stream=stream, seconds=case.wait_seconds)
    # Its own fallbacks may be slow, such as a model on this box; so what they take is measured, and no stand-in.
    result.healthy_seconds = drill.ask(case.answering[0], stream=stream).waited if case.answering else None
    with drill.fault(fault, *case.providers):
        answer = drill.ask(case.model, stream=stream, result=result, timeout=case.hang_seconds + 600)
    result.first_seconds = [answer.waited]
    if not case.answering:
        result.notes.append("nobody else answers for it: all of its chain is at the same providers")
        return
    if not answer.good:
        result.problems.append(f"nobody of its chain took over: {answer.seen} ({answer.error})")
    elif result.healthy_seconds is not None and not (answer.backend or "").startswith(f"{NAMESPACE}/{case.model}/"):
        extra = answer.waited - result.healthy_seconds
        if fault == HANG:
            name, allowed = "hang_first_seconds", drill.limits.hang_first_seconds
            # The limit is for the drill's own time-out; these models have others.
            limit = max(0.0, allowed - FIRST_TOKEN_TIMEOUT_SECONDS) + case.hang_seconds
        else:
            name, limit = "refused_extra_seconds", drill.limits.refused_extra_seconds
        if f"/{OLLAMA}/" not in (answer.backend or ""):
            result.checks.append(Check(name, "extra time", extra, limit))
        result.notes.append(f"answered by {(answer.backend or '').removeprefix(NAMESPACE + '/')}")


def _chain_refused(drill: Drill, case: Case, result: Result) -> None:
    _chain_fails(drill, case, result, REFUSE)


def _chain_hang(drill: Drill, case: Case, result: Result) -> None:
    _chain_fails(drill, case, result, HANG)


def _ollama_stopped(drill: Drill, case: Case, result: Result) -> None:
    own = deployment_id(LOCAL, OLLAMA)
    drill.settle(LOCAL, [own], seconds=case.wait_seconds)
    drill.settle(STANDBY)
    # The fallback answers in place of Ollama, so its time is the one to compare with.
    healthy = result.healthy_seconds = drill.healthy(STANDBY)
    with drill.engine.stopped(drill.ollama):
        first = _fall_back(drill, result, LOCAL, deployment_id(STANDBY, SECOND_PROVIDER))
        for model in case.chain:
            answer = drill.ask(model, result=result)
            if not answer.good:
                result.problems.append(f"model {model}: nobody of its chain took over: {answer.seen} ({answer.error})")
    limit = drill.limits.refused_extra_seconds
    result.checks.append(Check("refused_extra_seconds", "extra time of the first request", first[0] - healthy, limit))
    _hold_open_time(drill, result, healthy)
    started = drill.clock()
    drill.engine.wait_until_healthy(drill.ollama)
    drill.settle(LOCAL, [own], seconds=case.wait_seconds)
    result.recovery_seconds = drill.clock() - started


def _redis_recovers(drill: Drill, result: Result) -> None:
    started = drill.clock()
    drill.engine.wait_until_healthy(drill.redis)
    while not drill.replica.reaches_redis(ADMIN):
        if drill.clock() - started > _REDIS_RECOVERY_SECONDS:
            raise Unfinished(f"LiteLLM does not reach Redis {_REDIS_RECOVERY_SECONDS:g} s after it is back")
        drill.pause(_POLL_SECONDS)
    result.recovery_seconds = drill.clock() - started


def _ask_without_redis(drill: Drill, result: Result, number: int, healthy: float, every: float) -> list[float]:
    """Ask at a steady pace; return how much longer than usual each answer took."""
    extra = []
    for _ in range(number):
        answer = drill.ask(CLOUD, result=result)
        if not answer.good:
            result.problems.append(f"a client got {answer.seen} without Redis ({answer.error})")
        extra.append(answer.waited - healthy)
        drill.pause(every)
    result.first_seconds = [seconds + healthy for seconds in extra[:FAILURES_TO_OPEN]]
    return extra


def _redis_stopped(drill: Drill, _case: Case, result: Result) -> None:
    drill.settle(CLOUD, [deployment_id(CLOUD, FIRST_PROVIDER)])
    healthy = result.healthy_seconds = drill.healthy(CLOUD)
    with drill.engine.stopped(drill.redis):
        extra = _ask_without_redis(drill, result, REDIS_STOPPED_REQUESTS, healthy, _POLL_SECONDS)
    limit = drill.limits.redis_stopped_extra_seconds
    result.checks.append(Check("redis_stopped_extra_seconds", "extra time of the slowest request", max(extra), limit))
    _redis_recovers(drill, result)


def _redis_hung(drill: Drill, _case: Case, result: Result) -> None:
    drill.settle(CLOUD, [deployment_id(CLOUD, FIRST_PROVIDER)])
    healthy = result.healthy_seconds = drill.healthy(CLOUD)
    with drill.engine.paused(drill.redis):
        extra = _ask_without_redis(drill, result, REDIS_HUNG_REQUESTS, healthy, _POLL_SECONDS)
    limits = drill.limits
    slow = [seconds for seconds in extra if seconds > limits.redis_stopped_extra_seconds]
    result.checks += [
        Check(
            "redis_hung_extra_seconds", "extra time of the slowest request", max(extra), limits.redis_hung_extra_seconds
        ),
        Check(
            "redis_hung_slow_requests",
            "slow requests",
            len(slow),
            limits.redis_hung_slow_requests,
            f"of {REDIS_HUNG_REQUESTS} requests",
        ),
    ]
    _redis_recovers(drill, result)


def _provider_budget(drill: Drill, _case: Case, result: Result) -> None:
    """Spend the budget of a provider; the next of the chain answers, and nobody gets an error."""
    drill.engine.forget(drill.redis, NAMESPACE)
    healthy = result.healthy_seconds = drill.healthy(CLOUD)
    own = deployment_id(BUDGETED, BUDGET_PROVIDER)
    drill.settle(STANDBY)
    for number in range(1, _MAX_BUDGET_REQUESTS + 1):
        answer = drill.ask(BUDGETED, result=result)
        if not answer.good:
            result.problems.append(f"request {number} got {answer.seen} ({answer.error})")
        elif answer.backend != own:
            break
        drill.pause(_BOOKING_SECONDS)
    else:
        raise Unfinished(f"the provider was still asked after {_MAX_BUDGET_REQUESTS} requests, each of {_price()}")
    result.notes.append(f"budget {BUDGET_USD:g} USD, an answer {_price()}: {number - 1} answers, then the fallback")
    after = [drill.ask(BUDGETED, result=result) for _ in range(OPEN_REQUESTS)]
    if any(not answer.good or answer.backend == own for answer in after):
        result.problems.append("the fallback did not go on answering")
    result.first_seconds = [answer.waited]
    result.open_seconds = median([answer.waited for answer in after])
    _hold_open_time(drill, result, healthy)


def _price() -> str:
    return f"{ANSWER_PRICE_USD:g} USD"


def _client_budget(drill: Drill, _case: Case, result: Result) -> None:
    """Spend the budget of a client; it is told so, and others go on."""
    drill.engine.forget(drill.redis, NAMESPACE)
    drill.settle(CLOUD, [deployment_id(CLOUD, FIRST_PROVIDER)])
    answered, answer = _until_refused(drill, SPENDING_CLIENT, _MAX_BUDGET_REQUESTS, result)
    result.notes.append(f"budget {BUDGET_USD:g} USD, an answer {_price()}: {answered} answers, then {answer.status}")
    _expect_refusal(answer, "budget", result)
    _others_go_on(drill, result)


def _client_limit(drill: Drill, _case: Case, result: Result) -> None:
    """Ask more often than a client may; it is told when to come back, and others go on."""
    drill.settle(CLOUD, [deployment_id(CLOUD, FIRST_PROVIDER)])
    # On a slow box a request too many may get through, so that it asks on to see by how many.
    answered, answer = _until_refused(drill, LIMITED_CLIENT, 3 * REQUESTS_A_MINUTE, result)
    result.notes.append(f"{REQUESTS_A_MINUTE} requests a minute: {answered} answers, then {answer.status}")
    if answered < REQUESTS_A_MINUTE:
        result.problems.append(f"request {answered + 1} was refused, though {REQUESTS_A_MINUTE} are allowed")
    elif answered > REQUESTS_A_MINUTE:
        result.problems.append(f"{answered} requests were answered, though {REQUESTS_A_MINUTE} are allowed")
    _expect_refusal(answer, "", result)
    _others_go_on(drill, result)


def _until_refused(drill: Drill, client: str, most: int, result: Result) -> tuple[int, Answer]:
    """Ask as a client until it is refused; return how many answers it got, and the refusal.

    Raises:
        Unfinished: it never was.
    """
    for answered in range(most):
        answer = drill.ask(CLOUD, client=client, result=result)
        if not answer.good:
            return answered, answer
        drill.pause(_BOOKING_SECONDS)
    raise Unfinished(f"client {client} was still answered after {most} requests")


def _expect_refusal(answer: Answer, word: str, result: Result) -> None:
    if answer.status != 429:
        result.problems.append(f"the client got {answer.seen}, not 429 ({answer.error})")
    elif not answer.retry_after:
        result.problems.append("the refusal has no Retry-After")
    elif word not in answer.error:
        result.problems.append(f"the refusal does not speak of the {word}: {answer.error}")
    else:
        result.notes.append(f"Retry-After {answer.retry_after} s")


def _others_go_on(drill: Drill, result: Result) -> None:
    other = drill.ask(CLOUD)
    if not other.good:
        result.problems.append(f"another client got {other.seen} too ({other.error})")


def _load(drill: Drill, _case: Case, result: Result) -> None:
    """Ask at a steady rate with one backend of two dead; Redis is restarted in the middle."""
    drill.settle(PAIR)
    drill.settle(STANDBY)
    result.healthy_seconds = drill.healthy(PAIR)
    number = round(drill.load_rate * drill.load_seconds)
    restarts: list[Future[None]] = []
    started = drill.clock()

    def ask_in_turn(turn: int) -> Answer:
        drill.pause(max(0.0, started + turn / drill.load_rate - drill.clock()))
        if turn == number // 2:
            restarts.append(pool.submit(drill.engine.restart, drill.redis))
        return drill.ask(PAIR)

    with drill.fault(REFUSE, FIRST_PROVIDER), ThreadPoolExecutor(LOAD_THREADS) as pool:
        answers = list(pool.map(ask_in_turn, range(number)))
        for restart in restarts:
            restart.result()
    for answer in answers:
        result.saw(answer.seen)
    failed = [answer for answer in answers if not answer.good]
    result.checks.append(Check("load_failed", "failed requests", len(failed), drill.limits.load_failed, f"of {number}"))
    if failed:
        result.notes.append(f"first error: {failed[0].seen}, {failed[0].error}")
    times = [answer.waited for answer in answers]
    p50, p99 = amount(median(times), "s"), amount(percentile(times, 99), "s")
    result.notes.append(f"{drill.load_rate:g} requests a second for {drill.load_seconds:g} s: p50 {p50}, p99 {p99}")
    _redis_recovers(drill, result)


def _streams(drill: Drill, _case: Case, result: Result) -> None:
    """Read streams with several clients at once."""
    drill.settle(CLOUD, [deployment_id(CLOUD, FIRST_PROVIDER)], stream=True)
    result.healthy_seconds = drill.healthy(CLOUD, stream=True)

    def read(_client: int) -> list[Answer]:
        return [drill.ask(CLOUD, stream=True) for _ in range(STREAMS_EACH)]

    with ThreadPoolExecutor(STREAM_CLIENTS) as pool:
        answers = [answer for answers in pool.map(read, range(STREAM_CLIENTS)) for answer in answers]
    for answer in answers:
        result.saw(answer.seen)
        if not answer.good:
            result.problems.append(f"a stream ended with {answer.seen} ({answer.error})")
    p95 = percentile([answer.waited for answer in answers], 95)
    limit = drill.limits.first_token_p95_seconds
    result.checks.append(Check("first_token_p95_seconds", f"p95 of {len(answers)} first tokens", p95, limit))


_CASES: dict[str, Callable[[Drill, Case, Result], None]] = {
    "refused": _refused,
    "error_500": _error_500,
    "error_429": _error_429,
    "hang": _hang,
    "cut": _cut,
    "chain_refused": _chain_refused,
    "chain_hang": _chain_hang,
    "ollama_stopped": _ollama_stopped,
    "redis_stopped": _redis_stopped,
    "redis_hung": _redis_hung,
    "provider_budget": _provider_budget,
    "client_budget": _client_budget,
    "client_limit": _client_limit,
    "load": _load,
    "streams": _streams,
}
NAMES = tuple(_CASES)


def case_of(given: Mapping[str, Any]) -> Case:
    """Return one entry of the drill's plan as a typed case.

    Raises:
        KeyError: it has no name or title.
    """
    return Case(
        name=given["name"],
        title=given["title"],
        model=given.get("model") or "",
        providers=tuple(given.get("providers") or ()),
        answering=tuple(given.get("answering") or ()),
        hang_seconds=float(given.get("hang_seconds") or 0.0),
        chain=tuple(given.get("chain") or ()),
        wait_seconds=float(given.get("wait_seconds") or 0.0),
    )
