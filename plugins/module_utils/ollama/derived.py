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
    """A model as it is asked for; ``parameters`` are those that it does not take from its base."""

    name: Name
    base: Name
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        """Give the line of a difference."""
        return _line(self.name, self.base.short, {key: _spoken(value) for key, value in self.parameters.items()})


def as_found(wanted: Derived, shown: Shown, base: Shown) -> str:
    """Return the line of a difference for the model that is there under the name of ``wanted``."""
    same_files = (shown.weights, shown.template, shown.system) == (base.weights, base.template, base.system)
    own = {
        key: ", ".join(values)
        for key, values in shown.parameters.items()
        if key in wanted.parameters or base.parameters.get(key) != values
    }
    return _line(wanted.name, wanted.base.short if same_files else "other files", own)


def is_as_wanted(wanted: Derived, shown: Shown, base: Shown) -> bool:
    """Tell whether a model is its base with the wanted parameters, and nothing else."""
    if (shown.weights, shown.template, shown.system) != (base.weights, base.template, base.system):
        return False
    inherited = {key: values for key, values in base.parameters.items() if key not in wanted.parameters}
    kept = {key: values for key, values in shown.parameters.items() if key not in wanted.parameters}
    return kept == inherited and all(
        _said(shown.parameters.get(key, [])) == _meant(value) for key, value in wanted.parameters.items()
    )


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
