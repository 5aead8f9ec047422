"""Who is asking for what, for the log lines: LiteLLM forgets the one or the other on its way."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

# Under this name the model as the client wrote it travels through LiteLLM, which replaces `default` everywhere else.
MODEL_ASKED = "gateway_model_asked"


@dataclass(frozen=True)
class Caller:
    """A client and the model it wrote, as far as they are known yet."""

    client: str | None = None
    asked: str | None = None


_NOBODY = Caller()
_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def note_caller(caller: Caller) -> None:
    """Note who sent the request that is being worked on."""
    _caller.set(caller)


def noted_caller() -> Caller:
    """Return who sent the request that is being worked on."""
    return _caller.get() or _NOBODY
