"""Who takes over from whom: fallbacks in their order, and models for questions that are too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .declaration import CHAT, Catalog, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(frozen=True)
class Step:
    """One step from a model to the next: where the declaration says so, and to which model."""

    path: str
    target: str


def fallbacks_of(model: Model, catalog: Catalog) -> tuple[str, ...]:
    """Return the names of the models tried after this one: its own, then the gateway's for every chat model.

    LiteLLM itself would take its default fallbacks only for a model without any, and for embeddings too.
    """
    defaults = catalog.default_fallbacks if model.mode == CHAT else ()
    return tuple(dict.fromkeys([*model.fallbacks, *(name for name in defaults if name != model.name)]))


def steps_from(model: Model, catalog: Catalog) -> list[Step]:
    """Return every step that may follow this model, each with the place that declares it."""
    steps = [Step(f"llm_models[{model.name}].fallbacks[{index}]", name) for index, name in enumerate(model.fallbacks)]
    if model.on_context_overflow:
        steps.append(Step(f"llm_models[{model.name}].on_context_overflow", model.on_context_overflow))
    if model.mode == CHAT:
        steps += [Step(f"llm_default_fallbacks[{index}]", name) for index, name in enumerate(catalog.default_fallbacks)]
    return steps


def ways_from(model: Model, catalog: Catalog) -> list[tuple[Step, list[str]]]:
    """Return the shortest way to each model that may take over, with its first step and the names on it."""
    by_name = {other.name: other for other in catalog.models}
    seen = {model.name}
    waiting = [(step, [model.name, step.target]) for step in steps_from(model, catalog)]
    ways = []
    while waiting:
        first, names = waiting.pop(0)
        if names[-1] in seen or names[-1] not in by_name:
            continue
        seen.add(names[-1])
        ways.append((first, names))
        waiting += [(first, [*names, step.target]) for step in steps_from(by_name[names[-1]], catalog)]
    return ways


def circles(names: Iterable[str], next_of: Callable[[str], Iterable[str]]) -> list[list[str]]:
    """Return each circle of two or more names once, from the name of it that comes first."""
    found: list[list[str]] = []
    reported: set[frozenset[str]] = set()
    for start in names:
        way = _way_back(start, next_of)
        if len(way) > 1 and frozenset(way) not in reported:
            reported.add(frozenset(way))
            found.append(way)
    return found


def _way_back(start: str, next_of: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the shortest way from a name back to itself, or nothing when there is none."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        for name in next_of(way[-1]):
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def next_by_fallback(by_name: Mapping[str, Model]) -> Callable[[str], Iterable[str]]:
    """Return the function from a name to the declared models that it falls back to."""
    return lambda name: [other for other in by_name[name].fallbacks if other in by_name]


def next_by_overflow(by_name: Mapping[str, Model]) -> Callable[[str], Iterable[str]]:
    """Return the function from a name to the declared model that takes its long questions."""
    return lambda name: [other for other in (by_name[name].on_context_overflow,) if other in by_name]
