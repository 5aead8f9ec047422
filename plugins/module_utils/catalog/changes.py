"""What a new catalog changes on a box: the lines a user reads before it is done, and the models to ask afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..box.shapes import ModelsFacts

Question = Mapping[str, Any]

NOTHING = "Models: nothing to change"
UNREADABLE = "What the gateway serves cannot be read (questions.json on the box), so every model counts as new"
_NOT_SET = "not set"
# What is told of a model, by its key in questions.json, in this order.
_SPOKEN = {
    "mode": "mode",
    "backends": "backends",
    "fallbacks": "fallbacks",
    "context": "context",
    "resident": "resident",
    "tools": "tools",
    "timeout": "timeout",
    "first_token_timeout": "first token timeout",
    "paid": "costs money",
}
_SECONDS = ("timeout", "first_token_timeout")


def read_questions(text: str) -> list[Question] | None:
    """Return the questions of a box from its questions.json; None when that is not what the file holds.

    An empty text stands for a box that has none yet.
    """
    if not text:
        return []
    try:
        questions = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(questions, list) and all(
        isinstance(question, Mapping) and isinstance(question.get("name"), str) for question in questions
    )
    return questions if whole else None


def catalog_changes(
    questions: Sequence[Question], deployed: str, models: ModelsFacts | None, *, ask_paid: bool
) -> dict[str, Any]:
    """Return what the catalog changes.

    Args:
        questions: the models as the plan knows them.
        deployed: the text of questions.json on the box; empty when there is none.
        models: what the box holds of the Ollama models, from ``box_facts``; None when no Ollama is there.
        ask_paid: whether models that cost money are asked after the change.

    Returns:
        ``lines`` for the user; ``changed``, the names of new and changed models; ``removed``, the names of those that
        go; and ``ask``, the changed models that are to be asked.
    """
    before = read_questions(deployed)
    old = {question["name"]: question for question in before or []}
    new = {question["name"]: question for question in questions}
    changed = [name for name, question in new.items() if name not in old or _differences(old[name], question)]
    removed = [name for name in old if name not in new]
    costly = [name for name in changed if new[name]["paid"] and not ask_paid]
    lines = [
        *([UNREADABLE] if before is None else []),
        *(_line(old.get(name), new[name]) for name in changed),
        *(f"- model {name}" for name in removed),
    ]
    lines += _download_lines(models) if models else []
    if costly:
        names = ", ".join(costly)
        lines.append(f"not asked afterwards, since that costs money: {names} (llm_verify_paid: true asks them)")
    return {
        "lines": lines or [NOTHING],
        "changed": changed,
        "removed": removed,
        "ask": [name for name in changed if name not in costly],
    }


def _line(old: Question | None, new: Question) -> str:
    if old is None:
        return f"+ model {new['name']} ({_value(new, 'backends')})"
    differences = [f"{_SPOKEN[key]} {_value(old, key)} -> {_value(new, key)}" for key in _differences(old, new)]
    return f"~ model {new['name']}: {'; '.join(differences)}"


def _differences(old: Question, new: Question) -> list[str]:
    """Return the keys in which two questions differ; one that an earlier version did not write counts as not set."""
    return [key for key in _SPOKEN if _value(old, key) != _value(new, key)]


def _value(question: Question, key: str) -> str:
    value = question.get(key)
    if key == "backends":
        value = [backend["description"] for backend in value or []]
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if value is None:
        return {"fallbacks": "none", "resident": "no", "tools": "no"}.get(key, _NOT_SET)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g} s" if key in _SECONDS else str(value)


def _download_lines(models: ModelsFacts) -> list[str]:
    lines = []
    free = models["directory"]["free_bytes"] if models["directory"] else None
    if models["missing_bytes"]:
        names = ", ".join(model["name"] for model in models["items"] if model["missing_bytes"])
        room = "" if free is None else f", free {_gb(free)}"
        lines.append(f"to download {_gb(models['missing_bytes'])} ({names}){room}")
    unsized = [model["name"] for model in models["items"] if model["state"] in ("unreachable", "elsewhere")]
    if unsized:
        lines.append(f"to download, size not known: {', '.join(unsized)}")
    return lines


def _gb(size: int) -> str:
    """Return bytes in GB as Ollama's library counts them, in powers of ten."""
    value = size / 1e9
    return f"{value:.0f} GB" if value >= 10 else f"{value:.1f} GB"
