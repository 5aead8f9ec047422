"""Models made on the server from others, and whether one that is there is still what was asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .api import Shown
    from .names import Name


@dataclass(frozen=True)
class Derived:
    """A model as it is asked for: ``parameters``, system prompt and template that it does not take from its base."""

    name: Name
    base: Name
    parameters: Mapping[str, Any]
    system: str | None = None
    template: str | None = None

    def __str__(self) -> str:
        """Give the line of a difference."""
        return asked_line(self.name, self.base.short, self.parameters, self.texts)

    @property
    def texts(self) -> dict[str, str]:
        """The texts of its own, by Ollama's names for them."""
        return own_texts(self.system, self.template)

    def same_as(self, other: Derived) -> bool:
        """Tell whether the same is asked for, under whatever name."""
        mine, others = ((entry.base.key, dict(entry.parameters), entry.texts) for entry in (self, other))
        return mine == others


def as_found(wanted: Derived, shown: Shown, base: Shown) -> str:
    """Return the line of a difference for the model that is there under the name of ``wanted``."""
    own = {
        key: ", ".join(values)
        for key, values in shown.parameters.items()
        if key in wanted.parameters or base.parameters.get(key) != values
    }
    inherited = {"system": base.system, "template": base.template}
    found = {"system": shown.system, "template": shown.template}
    texts = {key: text for key, text in found.items() if key in wanted.texts or text != inherited[key]}
    return _line(
        wanted.name, wanted.base.short if shown.weights == base.weights else "other files", own | _texts(texts)
    )


def is_as_wanted(wanted: Derived, shown: Shown, base: Shown) -> bool:
    """Tell whether a model is its base with the wanted parameters and texts, and nothing else."""
    texts = {"system": base.system, "template": base.template} | wanted.texts
    if (shown.weights, shown.system, shown.template) != (base.weights, texts["system"], texts["template"]):
        return False
    inherited = {key: values for key, values in base.parameters.items() if key not in wanted.parameters}
    kept = {key: values for key, values in shown.parameters.items() if key not in wanted.parameters}
    return kept == inherited and has_parameters(shown, wanted.parameters)


def has_parameters(shown: Shown, parameters: Mapping[str, Any]) -> bool:
    """Tell whether a model has all these parameters, by value."""
    return all(_said(shown.parameters.get(key, [])) == _meant(value) for key, value in parameters.items())


def own_texts(system: str | None, template: str | None) -> dict[str, str]:
    """Return the texts that are given, by Ollama's names for them."""
    both = {"system": system, "template": template}
    return {key: text for key, text in both.items() if text is not None}


def asked_line(name: Name, source: str, parameters: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Return the line of a difference for a model that is asked for."""
    own = {key: _spoken(value) for key, value in parameters.items()}
    return _line(name, source, own | _texts(texts))


def _line(name: Name, base: str, parameters: Mapping[str, str]) -> str:
    values = ", ".join(f"{key} {value}" for key, value in sorted(parameters.items()))
    return f"{name.short}: {base} with {values or 'nothing of its own'}"


def _meant(value: Any) -> list[Any]:
    return [_plain(item) for item in (value if isinstance(value, list) else [value])]


def _said(texts: list[str]) -> list[Any]:
    return [_value(text) for text in texts]


def _value(text: str) -> Any:
    """Return a value that /api/show wrote in Go's notation, which is JSON's but for odd text."""
    try:
        return _plain(json.loads(text))
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _spoken(value: Any) -> str:
    return ", ".join(json.dumps(item, ensure_ascii=False) for item in (value if isinstance(value, list) else [value]))


def _texts(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: json.dumps(text, ensure_ascii=False) for key, text in texts.items()}
