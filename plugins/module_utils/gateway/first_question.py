"""What a new replica of LiteLLM is asked before the old ones go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .asking import Gateway, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Few, as a backend that hangs costs its whole time-out, and one answer is enough.
MOST_QUESTIONS = 3


def ready(url: str, path: str) -> bool:
    """Whether what listens at an address says that it is ready."""
    try:
        return Gateway(url, "").ask("GET", path, key=None, timeout=2).status == 200
    except NoAnswer:
        return False


def list_problem(gateway: Gateway, questions: Sequence[Mapping[str, Any]]) -> str:
    """Return what is wrong with the model list of a replica; empty when it is exactly the catalog's.

    Args:
        gateway: the replica at its own address, with the administrator's key.
        questions: the plan's questions, one a model.
    """
    try:
        reply = gateway.ask("GET", "/v1/models")
    except NoAnswer as error:
        return str(error)
    try:
        listed = {model["id"] for model in json.loads(reply.body)["data"]} if reply.status == 200 else None
    except (ValueError, KeyError, TypeError):
        listed = None
    if listed is None:
        return f"GET /v1/models gave status {reply.status}: {gateway.clean(reply.body.decode(errors='replace'))}"
    names = {question["name"] for question in questions}
    if listed != names:
        return f"its model list is {', '.join(sorted(listed)) or 'empty'} instead of {', '.join(sorted(names))}"
    return ""


def silence(gateway: Gateway, questions: Sequence[Mapping[str, Any]]) -> str:
    """Return why no model answers that costs nothing; empty when one does, or when each costs something.

    One, not all: what each model answers, the role ``verify`` asks afterwards.

    Args:
        gateway: the replica at its own address, with the administrator's key.
        questions: the plan's questions, one a model.
    """
    free = sorted((question for question in questions if not question["paid"]), key=lambda one: not one.get("resident"))
    failures = []
    for question in free[:MOST_QUESTIONS]:
        failure = _question_problem(gateway, question)
        if not failure:
            return ""
        failures.append(failure)
    return "; ".join(failures)


def _question_problem(gateway: Gateway, question: Mapping[str, Any]) -> str:
    name = question["name"]
    if question["mode"] == "embedding":
        path, body = "/v1/embeddings", {"model": name, "input": "hello", "disable_fallbacks": True}
    else:
        path = "/v1/chat/completions"
        # A fallback may cost money, and would hide that this model is silent.
        body = {
            "model": name,
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
            "disable_fallbacks": True,
        }
    try:
        reply = gateway.ask("POST", path, body, timeout=question["timeout"])
    except NoAnswer as error:
        return f"{name}: {error}"
    if reply.status != 200:
        return f"{name}: status {reply.status}: {gateway.clean(reply.body.decode(errors='replace'))}"
    return ""
