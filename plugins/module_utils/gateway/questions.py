"""One short question a model, and what a right answer is.

Completions are asked with ``disable_fallbacks``, so that a fallback does not hide a broken backend.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .asking import BACKEND_HEADER, TEXT_LENGTH, NoAnswer, parsed, seen, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .asking import Gateway, Reply, StreamReply

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True)
class Backend:
    """One thing that may answer for a model: its id in LiteLLM (``model_info.id``) and words for people."""

    id: str
    description: str = ""


@dataclass(frozen=True)
class Model:
    """One model of the catalog.

    ``timeout`` (whole answer) and ``first_token_timeout`` are seconds; ``mode`` is chat or embedding. ``context`` is
    the declared length of question and answer in tokens, ``tools`` whether the model is declared to call tools.
    ``fingerprint`` tells this declaration from every other one.
    """

    name: str
    mode: str
    paid: bool
    timeout: float
    first_token_timeout: float | None
    backends: tuple[Backend, ...]
    context: int | None = None
    tools: bool = False
    fingerprint: str = ""


@dataclass(frozen=True)
class CheckResult:
    """What one check found wrong; nothing if the answer was right."""

    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelResult(CheckResult):
    """What became of one model.

    Times are seconds; ``note`` says why a model was not asked, ``notes`` what could not be told. ``proofs`` holds the
    figures of each test in depth that was passed. ``tested_at`` is when none failed, ``proved_at`` when all were
    passed.
    """

    name: str = ""
    mode: str = ""
    asked: bool = True
    answered_by: str | None = None
    backend_id: str | None = None
    seconds: float | None = None
    first_token_seconds: float | None = None
    dimensions: int | None = None
    text: str | None = None
    note: str | None = None
    deep: bool = False
    proofs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    tested_at: str | None = None
    proved_at: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result for Ansible, without what does not apply."""
        keys = (
            "name",
            "mode",
            "asked",
            "answered_by",
            "backend_id",
            "seconds",
            "first_token_seconds",
            "dimensions",
            "text",
            "note",
            "deep",
            "fingerprint",
            "tested_at",
            "proved_at",
        )
        found = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        if self.proofs:
            found["proofs"] = {test: dict(figures) for test, figures in self.proofs.items()}
        if self.notes:
            found["notes"] = list(self.notes)
        return found


def completion(name: str, max_tokens: int = 16) -> dict[str, Any]:
    """Return the body of a short question. The random word keeps a cached answer from standing in for the backend."""
    return chat_body(name, f"Answer with one word: hello. ({secrets.token_hex(4)})", max_tokens)


def chat_body(name: str, question: str, max_tokens: int) -> dict[str, Any]:
    """Return the body of a question to one chat model, which no other model may answer."""
    messages = [{"role": "user", "content": question}]
    return {"model": name, "messages": messages, "max_tokens": max_tokens, "disable_fallbacks": True}


def check_completion(gateway: Gateway, model: Model) -> ModelResult:
    """Ask one chat model for a short answer from its own backend."""
    try:
        reply = gateway.ask("POST", CHAT, completion(model.name), timeout=model.timeout)
    except NoAnswer as error:
        return failed(model, [str(error)])
    if reply.status != 200:
        return failed(model, [seen(gateway, reply)])
    text = text_of(parsed(reply.body), "message").strip()
    failures = [] if text else ["the answer holds no text"]
    return answered(gateway, model, reply, failures, text=text)


def check_stream(gateway: Gateway, model: Model) -> ModelResult:
    """Ask one chat model for a streamed answer, and time its first token."""

    def judge(reply: StreamReply, failures: list[str]) -> ModelResult:
        return answered(
            gateway,
            model,
            reply,
            failures,
            prefix="streaming: ",
            text=reply.text.strip(),
            first_token_seconds=reply.first_token_seconds,
        )

    return streamed(gateway, model, completion(model.name), judge)


def streamed(
    gateway: Gateway, model: Model, body: dict[str, Any], judge: Callable[[StreamReply, list[str]], ModelResult]
) -> ModelResult:
    """Ask for an answer as a stream; one with status 200 goes to ``judge``, with what is wrong with it as a stream."""
    try:
        reply = gateway.ask_stream(CHAT, dict(body, stream=True), model.timeout, model.first_token_timeout)
    except NoAnswer as error:
        return failed(model, [f"streaming: {error}"])
    if reply.status != 200:
        return failed(model, [f"streaming: {seen(gateway, reply)}"])
    return judge(reply, stream_failures(gateway, reply.text, reply.error, done=reply.done))


def stream_failures(gateway: Gateway, text: str, error: str, *, done: bool) -> list[str]:
    """Return what is wrong with a stream whatever was asked."""
    failures = []
    if error:
        failures.append(f"streaming: the stream broke off with an error: {gateway.clean(error)}")
    elif not text.strip():
        failures.append("streaming: the answer holds no text")
    if not done:
        failures.append("streaming: the stream ended without [DONE]")
    return failures


def check_embedding(gateway: Gateway, model: Model) -> ModelResult:
    """Ask one embedding model for a vector."""
    body = {"model": model.name, "input": "A short question. " + secrets.token_hex(4)}
    try:
        reply = gateway.ask("POST", EMBEDDINGS, body, timeout=model.timeout)
    except NoAnswer as error:
        return failed(model, [str(error)])
    if reply.status != 200:
        return failed(model, [seen(gateway, reply)])
    found = vectors(reply.body)
    failures = [] if found else ["the answer holds no vector of numbers"]
    return answered(gateway, model, reply, failures, dimensions=len(found[0]) if found else None)


def vectors(body: bytes) -> list[list[float]]:
    """Return the vectors in an answer, in the order of the texts; none when one of them is no vector of numbers."""
    answer = parsed(body)
    data = answer.get("data") if isinstance(answer, dict) else None
    found = [item.get("embedding") if isinstance(item, dict) else None for item in data or []]
    usable = all(isinstance(vector, list) and vector and all(map(_is_number, vector)) for vector in found)
    return [vector for vector in found if vector is not None] if usable else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def failed(model: Model, failures: Sequence[str]) -> ModelResult:
    """Return the result of a model that gave no usable answer."""
    named = tuple(f"model {model.name}: {failure}" for failure in failures)
    return ModelResult(named, name=model.name, mode=model.mode, fingerprint=model.fingerprint)


def answered(
    gateway: Gateway,
    model: Model,
    reply: Reply,
    failures: list[str],
    *,
    prefix: str = "",
    text: str | None = None,
    first_token_seconds: float | None = None,
    dimensions: int | None = None,
) -> ModelResult:
    """Return the result of an answer with status 200, after a look at which backend gave it."""
    backend = next((backend for backend in model.backends if backend.id == reply.backend_id), None)
    named = gateway.clean(reply.backend_id) if reply.backend_id else None
    if backend is None:
        own = ", ".join(f"{item.id} ({item.description})" if item.description else item.id for item in model.backends)
        failures.append(
            "{}answered by backend {}, which is none of its own: {}".format(prefix, named, own or "(none declared)")
            if named
            else f"{prefix}the answer does not say which backend gave it (no header {BACKEND_HEADER})"
        )
    return ModelResult(
        failed(model, failures).failures,
        name=model.name,
        mode=model.mode,
        answered_by=named if backend is None else backend.description or backend.id,
        backend_id=named,
        seconds=round(reply.seconds, 3),
        first_token_seconds=None if first_token_seconds is None else round(first_token_seconds, 3),
        dimensions=dimensions,
        text=gateway.clean(text, TEXT_LENGTH) if text else None,
        fingerprint=model.fingerprint,
    )
