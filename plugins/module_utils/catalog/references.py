"""Rules between entries of the catalog: fallbacks that exist, end and fit, and backends that can do what is asked."""

from __future__ import annotations

from .declaration import EMBEDDING, HOSTED, OLLAMA, Catalog, Model
from .problems import Problem, did_you_mean


def reference_problems(catalog: Catalog, ollama_boxes: dict[str, str]) -> list[Problem]:
    """Return every rule that the catalog breaks between its entries.

    Args:
        catalog: what was declared.
        ollama_boxes: names of the boxes that run Ollama, with their addresses.
    """
    problems: list[Problem] = []
    by_name = {model.name: model for model in catalog.models}
    for model in catalog.models:
        problems += _fallback_problems(model, by_name)
        problems += _backend_problems(model, catalog, ollama_boxes)
        if model.first_token_timeout > model.timeout:
            problems.append(
                Problem(
                    f"llm_models[{model.name}].first_token_timeout",
                    f"{model.first_token_timeout:g} s is longer than the whole answer may take ({model.timeout:g} s)",
                    "Write a smaller number here, or a larger timeout",
                ),
            )
    return problems + _loop_problems(by_name)


def reference_warnings(catalog: Catalog) -> list[str]:
    """Return what is allowed but likely to surprise."""
    return [
        f"llm_models[{model.name}].fallbacks: vectors of {' and '.join(model.fallbacks)} do not fit its index"
        for model in catalog.models
        if model.mode == EMBEDDING and model.fallbacks
    ]


def _fallback_problems(model: Model, by_name: dict[str, Model]) -> list[Problem]:
    problems = []
    for index, name in enumerate(model.fallbacks):
        path = f"llm_models[{model.name}].fallbacks[{index}]"
        target = by_name.get(name)
        if target is None:
            problems.append(Problem(path, f"{name!r} is not a declared model", did_you_mean(name, by_name)))
        elif name == model.name:
            problems.append(Problem(path, "a model cannot be its own fallback", "Name another model, or remove it"))
        elif target.mode != model.mode:
            problems.append(
                Problem(
                    path,
                    f"{name!r} is for {target.mode}, {model.name!r} for {model.mode}",
                    f"Name a model with mode: {model.mode}",
                ),
            )
        elif name in model.fallbacks[:index]:
            problems.append(Problem(path, f"{name!r} stands here twice", "Remove one"))
    return problems


def _backend_problems(model: Model, catalog: Catalog, ollama_boxes: dict[str, str]) -> list[Problem]:
    problems = []
    for index, backend in enumerate(model.backends):
        path = f"llm_models[{model.name}].backends[{index}]"
        provider = catalog.providers.get(backend.provider)
        if provider is None:
            continue
        if provider.kind == OLLAMA and not ollama_boxes:
            problems.append(
                Problem(
                    f"{path}.provider",
                    "no box runs Ollama for this gateway",
                    "Put the gateway's box into group ollama of the inventory, and leave ollama_enabled true",
                ),
            )
        if provider.kind == OLLAMA and backend.model.lower().endswith((":cloud", "-cloud")):
            problems.append(
                Problem(
                    f"{path}.model",
                    f"{backend.model!r} would send requests to Ollama's cloud",
                    "Name a model that runs on the box",
                ),
            )
        if model.mode == EMBEDDING and not HOSTED.get(provider.kind, True):
            problems.append(
                Problem(
                    f"{path}.provider", f"{provider.kind} offers no embeddings", "Name another provider, such as ollama"
                ),
            )
        if not model.mode_declared and looks_like_embedding(backend.model):
            problems.append(
                Problem(
                    f"{path}.model",
                    f"{backend.model!r} makes embeddings and cannot chat",
                    "Add mode: embedding to this model, or mode: chat if its name misleads",
                ),
            )
    return problems


def looks_like_embedding(upstream_model: str) -> bool:
    """Tell an embedding model by its name, as the well-known ones carry it (nomic-embed-text, bge-m3, all-minilm)."""
    name = upstream_model.rsplit("/", 1)[-1].lower()
    return "embed" in name or name.startswith(("bge-", "all-minilm", "paraphrase-multilingual"))


def _loop_problems(by_name: dict[str, Model]) -> list[Problem]:
    """Report each fallback loop once, at the model of the loop that was declared first."""
    problems: list[Problem] = []
    reported: set[frozenset[str]] = set()
    for start in by_name:
        for loop in _loops_from(start, by_name):
            if len(loop) > 1 and frozenset(loop) not in reported:
                reported.add(frozenset(loop))
                way = " -> ".join([*loop, start])
                problems.append(
                    Problem(
                        f"llm_models[{start}].fallbacks", f"the fallbacks go in a circle: {way}", "Remove one of them"
                    ),
                )
    return problems


def _loops_from(start: str, by_name: dict[str, Model]) -> list[list[str]]:
    """Return the shortest way from a model back to itself over fallbacks, or nothing when there is none."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        for name in by_name[way[-1]].fallbacks:
            if name == start:
                return [way]
            if name in by_name and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
