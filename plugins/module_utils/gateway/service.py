"""Questions to the service as a whole: ready, in touch with Redis, closed to strangers, with the right models.

GET /health is never asked: it calls every model, and paid ones cost money (LiteLLM, litellm/proxy/health_endpoints).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .asking import QUICK_SECONDS, NoAnswer, error_message, parsed, seen
from .questions import CheckResult, completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .asking import Gateway, Reply
    from .questions import Model

POLL_SECONDS = 0.5
REDIS_POLL_SECONDS = 2.0
REDIS_HINT = (
    "Until it does, the states of circuit breakers and the limits are each replica's own. "
    "Look at: docker logs llm-gateway-redis"
)
# LiteLLM registers it with its callback `prometheus` (litellm/integrations/prometheus.py).
REQUESTS_METRIC = b"litellm_proxy_total_requests_metric_total"


@dataclass(frozen=True)
class ListResult(CheckResult):
    """The model list: ``names`` is None when there was no usable list."""

    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Replica:
    """One LiteLLM behind the gateway's address; ``gateway`` asks it alone, and is None when it does not run."""

    name: str
    gateway: Gateway | None


def wait_until_ready(gateway: Gateway, replicas: Sequence[Replica], timeout: float) -> tuple[bool, CheckResult]:
    """Wait up to ``timeout`` seconds until the gateway answers and every replica is ready.

    Returns whether the gateway answered, and what is wrong.
    """
    deadline = time.monotonic() + timeout
    running = {replica.name: replica.gateway for replica in replicas if replica.gateway is not None}
    # What does not run has no address, which waiting would not give it.
    stopped = tuple(f"replica {replica.name}: does not run" for replica in replicas if replica.gateway is None)
    while True:
        limit = max(min(QUICK_SECONDS, deadline - time.monotonic()), POLL_SECONDS)
        try:
            found = check_liveliness(gateway, limit).failures
            reached = True
        except NoAnswer as error:
            found = (str(error),)
            reached = False
        for name, replica in running.items():
            found += check_readiness(name, replica, limit).failures
        remaining = deadline - time.monotonic()
        if not found or remaining <= 0:
            waited = tuple(f"{failure} (waited {timeout:g} s)" for failure in found)
            return reached, CheckResult(stopped + waited)
        time.sleep(min(POLL_SECONDS, remaining))


def check_liveliness(gateway: Gateway, timeout: float) -> CheckResult:
    """Ask whether anything answers at all. Raises NoAnswer."""
    reply = gateway.ask("GET", "/health/liveliness", key=None, timeout=timeout)
    if reply.status == 200:
        return CheckResult()
    return CheckResult((f"liveliness: {seen(gateway, reply)}",))


def check_readiness(name: str, replica: Gateway, timeout: float) -> CheckResult:
    """Ask a replica whether it is ready for requests. Says nothing about Redis: LiteLLM stays ready without it."""
    try:
        reply = replica.ask("GET", "/health/readiness", key=None, timeout=timeout)
    except NoAnswer as error:
        return CheckResult((f"replica {name}: {error}",))
    answer = parsed(reply.body)
    state = answer.get("status") if isinstance(answer, dict) else None
    if reply.status == 200 and state in ("healthy", "connected"):
        return CheckResult()
    return CheckResult((f"replica {name}: readiness: {seen(replica, reply)}",))


def check_redis(replicas: Sequence[Replica], timeout: float) -> CheckResult:
    """Ask for up to ``timeout`` seconds whether each replica reaches Redis, which its readiness does not tell.

    An answer below 500, such as a refused key, does not change by waiting and is not asked for again.
    """
    deadline = time.monotonic() + timeout
    final: list[str] = []
    waiting = {replica.name: replica.gateway for replica in replicas if replica.gateway is not None}
    while waiting:
        limit = max(min(QUICK_SECONDS, deadline - time.monotonic()), REDIS_POLL_SECONDS)
        away: dict[str, str] = {}
        for name, gateway in waiting.items():
            try:
                reply = gateway.ask("GET", "/cache/ping", timeout=limit)
            except NoAnswer as error:
                away[name] = str(error)
                continue
            if reply.status >= 500:
                away[name] = f"GET /cache/ping: status {reply.status}{_redis_message(gateway, reply)}"
            elif reply.status != 200:
                final.append(f"replica {name}: question about Redis: GET /cache/ping: {seen(gateway, reply)}")
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            final += [
                f"replica {name}: does not reach Redis: {seen} (waited {timeout:g} s). {REDIS_HINT}"
                for name, seen in away.items()
            ]
            break
        waiting = {name: waiting[name] for name in away}
        if waiting:
            time.sleep(min(REDIS_POLL_SECONDS, remaining))
    return CheckResult(tuple(final))


def check_metrics(replica: Replica) -> CheckResult:
    """Ask a replica for its metrics, which want no key: the ingress decides who gets there."""
    if replica.gateway is None:
        return CheckResult()
    try:
        reply = replica.gateway.ask("GET", "/metrics/", key=None)
    except NoAnswer as error:
        return CheckResult((f"replica {replica.name}: metrics: {error}",))
    wrong = ""
    if reply.status != 200:
        wrong = f"GET /metrics/: {seen(replica.gateway, reply)}"
    elif REQUESTS_METRIC not in reply.body:
        wrong = f"GET /metrics/ lacks {REQUESTS_METRIC.decode()}"
    return CheckResult((f"replica {replica.name}: LiteLLM started without metrics: {wrong}",) if wrong else ())


def _redis_message(gateway: Gateway, reply: Reply) -> str:
    """Return the message without the settings of Redis after it (LiteLLM, litellm/proxy/caching_routes.py)."""
    details = parsed(error_message(reply.body).encode())
    said = details.get("message") if isinstance(details, dict) else None
    return f", {gateway.clean(said)}" if isinstance(said, str) and said else ""


def check_refusal(gateway: Gateway, key: str | None, model: Model | None) -> CheckResult:
    """Ask the model list and a completion without a key (None) or with a wrong one ("wrong"); both must be refused.

    The completion names a model that costs nothing and allows no fallback, so that an open gateway spends no money.
    """
    named, without = (
        ("answers without a key", "without a key") if key is None else ("accepts a wrong key", "with a wrong key")
    )
    body = completion(model.name if model is not None else "no-such-model", max_tokens=1)
    failures: list[str] = []
    for method, path, question, timeout in (
        ("GET", "/v1/models", None, QUICK_SECONDS),
        ("POST", "/v1/chat/completions", body, model.timeout if model is not None else QUICK_SECONDS),
    ):
        try:
            reply = gateway.ask(method, path, question, key=key, timeout=timeout)
        except NoAnswer as error:
            failures.append(f"request {without}: {error}")
            continue
        if reply.status < 400:
            failures.append(f"{named}: {method} {path} gave status {reply.status} instead of 401")
        elif reply.status != 401:
            failures.append(f"request {without}: {method} {path} must be refused with 401, but: {seen(gateway, reply)}")
    return CheckResult(tuple(failures))


def check_model_list(gateway: Gateway, models: Sequence[Model]) -> ListResult:
    """Compare the gateway's model list with the catalog."""
    try:
        reply = gateway.ask("GET", "/v1/models")
    except NoAnswer as error:
        return ListResult((f"model list: {error}",))
    answer = parsed(reply.body)
    data = answer.get("data") if isinstance(answer, dict) else None
    if reply.status != 200 or not isinstance(data, list):
        return ListResult((f"model list: GET /v1/models: {seen(gateway, reply)}",))
    names = {str(item.get("id")) for item in data if isinstance(item, dict)}
    expected = {model.name for model in models}
    failures = []
    if expected - names:
        failures.append("model list: missing {}".format(", ".join(sorted(expected - names))))
    if names - expected:
        failures.append("model list: {} not in the catalog".format(gateway.clean(", ".join(sorted(names - expected)))))
    return ListResult(tuple(failures), tuple(sorted(names)))
