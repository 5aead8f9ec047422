"""All questions to a running gateway in their order, and everything that is wrong in one report."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .proofs import prove
from .questions import ModelResult, check_completion, check_embedding, check_stream
from .routes import closed_route_failures
from .service import check_metrics, check_model_list, check_redis, check_refusal, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .asking import Gateway
    from .questions import Model
    from .receipts import Tested
    from .service import Replica

NOT_CHOSEN = "not asked"
CHANGED, ALL, NONE = "changed", "all", "none"


@dataclass(frozen=True)
class Scope:
    """What is asked beyond the least.

    Attributes:
        ask_paid: short questions to models that cost money too; and where such a model is tested in depth, also a
            prompt of its whole context.
        only: names of the models to ask, in depth, also when they cost money; none for all but the paid ones.
        deep: which models are tested in depth: "changed" for those that no earlier run has tested, "all" or "none".
        ask_slow: whether a prompt of a whole context is sent where it would hold up the run.
        tested: what earlier runs know of a declaration, by its fingerprint.
        ask_metrics: whether each replica must give metrics.
        ask_routes: whether administrative routes must not be found.
        ready_timeout: seconds to wait until the gateway is ready.
        redis_timeout: seconds to wait until each replica reaches Redis; None for a gateway without one.
    """

    ask_paid: bool = False
    only: Sequence[str] = ()
    deep: str = CHANGED
    ask_slow: bool = False
    tested: Mapping[str, Tested] = field(default_factory=dict)
    ask_metrics: bool = True
    ask_routes: bool = True
    ready_timeout: float = 60
    redis_timeout: float | None = 70


@dataclass
class Report:
    """All answers. ``first_token_seconds`` is that of the first streamed answer, ``seconds`` of the whole check."""

    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    models: list[ModelResult] = field(default_factory=list)
    first_token_seconds: float | None = None
    seconds: float = 0.0

    def message(self, url: str) -> str:
        """Return the failures as lines for people."""
        count = len(self.failures)
        head = f"The gateway at {url} gave {count} wrong answer{'' if count == 1 else 's'}:"
        return "\n".join([head, *(f"- {failure}" for failure in self.failures)])


def run_checks(
    gateway: Gateway, replicas: Sequence[Replica], models: Sequence[Model], scope: Scope, now: str = ""
) -> Report:
    """Ask everything and return all wrong answers. Stops early only when nothing answers at the gateway's address.

    ``now`` is the time of this run, noted with each model that is proved by it.
    """
    started = time.monotonic()
    report = Report()
    reached, readiness = wait_until_ready(gateway, replicas, scope.ready_timeout)
    report.failures.extend(readiness.failures)
    if reached:
        if scope.redis_timeout is not None:
            report.failures.extend(check_redis(replicas, scope.redis_timeout).failures)
        free_chat = next((model for model in models if model.mode == "chat" and not model.paid), None)
        for key in (None, "wrong"):
            report.failures.extend(check_refusal(gateway, key, free_chat).failures)
        if scope.ask_routes:
            report.failures.extend(closed_route_failures(gateway))
        listed = check_model_list(gateway, models)
        report.failures.extend(listed.failures)
        why_not = {model.name: _why_not(model, scope, listed.names) for model in models}
        _ask_models(gateway, models, why_not, scope, report, now)
        if scope.ask_metrics:
            for replica in replicas:
                report.failures.extend(check_metrics(replica).failures)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _ask_models(
    gateway: Gateway, models: Sequence[Model], why_not: Mapping[str, str], scope: Scope, report: Report, now: str
) -> None:
    """Ask each model; one must stream: the first free chat model, or the first paid one if only those are asked."""
    chat = sorted(
        (item for item in models if item.mode == "chat" and not why_not[item.name]), key=lambda item: item.paid
    )
    for model in models:
        note = why_not[model.name]
        if note:
            report.models.append(_not_asked(model, note, scope))
            continue
        result = check_embedding(gateway, model) if model.mode == "embedding" else check_completion(gateway, model)
        if in_depth(model, scope):
            ask_context = scope.ask_paid or not model.paid
            result = prove(gateway, model, result, ask_context=ask_context, ask_slow=scope.ask_slow)
        elif chat and model is chat[0]:
            stream = check_stream(gateway, model)
            result = replace(
                result, failures=result.failures + stream.failures, first_token_seconds=stream.first_token_seconds
            )
        if report.first_token_seconds is None:
            report.first_token_seconds = result.first_token_seconds
        result = _with_earlier(result, scope, now)
        report.failures.extend(result.failures)
        report.notes.extend(result.notes)
        report.models.append(result)


def in_depth(model: Model, scope: Scope) -> bool:
    """Return whether a model that is asked is tested in depth. One that costs money is so only when it was named."""
    if model.name in scope.only:
        return scope.deep != NONE
    if model.paid or scope.deep == NONE:
        return False
    return scope.deep == ALL or model.fingerprint not in scope.tested


def _with_earlier(result: ModelResult, scope: Scope, now: str) -> ModelResult:
    """Add when a declaration was tested and proved: now, or by an earlier run, whose notes still hold then."""
    earlier = scope.tested.get(result.fingerprint)
    if result.deep and result.failures:
        # A proof that has just failed is none any more.
        return result
    if result.deep:
        before = earlier.proved_at if earlier is not None else None
        return replace(result, tested_at=now, proved_at=before if result.notes else now)
    if earlier is None:
        return result
    return replace(result, tested_at=earlier.at, proved_at=earlier.proved_at, notes=(*result.notes, *earlier.notes))


def _not_asked(model: Model, note: str, scope: Scope) -> ModelResult:
    result = ModelResult(name=model.name, mode=model.mode, asked=False, note=note, fingerprint=model.fingerprint)
    return _with_earlier(result, scope, "")


def _why_not(model: Model, scope: Scope, listed: tuple[str, ...] | None) -> str:
    """Return why a model is not asked, or an empty string."""
    if scope.only and model.name not in scope.only:
        return NOT_CHOSEN
    if listed is not None and model.name not in listed:
        return "not asked (not in the model list)"
    return "not asked (costs money)" if model.paid and not scope.ask_paid and not scope.only else ""
