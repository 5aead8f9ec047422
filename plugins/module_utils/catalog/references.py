"""Rules between entries of the catalog: fallbacks that exist, end and fit, and backends that can do what is asked."""

from __future__ import annotations

from ..ollama.names import FORM, InvalidName, parse
from .chains import circles, next_by_fallback, next_by_overflow
from .declaration import CHAT, EMBEDDING, HOSTED, OLLAMA, Backend, Catalog, Model, Provider
from .instances import LIST, LLAMACPP, Instance
from .ollama_models import models_to_derive, name_key
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
        problems += _overflow_problems(model, by_name)
        problems += _ability_problems(model, catalog)
        problems += _backend_problems(model, catalog, ollama_boxes)
        if model.first_token_timeout > model.timeout:
            problems.append(
                Problem(
                    f"llm_models[{model.name}].first_token_timeout",
                    f"{model.first_token_timeout:g} s is longer than the whole answer may take ({model.timeout:g} s)",
                    "Write a smaller number here, or a larger timeout",
                ),
            )
    return [
        *problems,
        *_circle_problems(by_name),
        *_default_fallback_problems(catalog.default_fallbacks, by_name),
        *_derived_name_problems(catalog),
    ]


def reference_warnings(catalog: Catalog) -> list[str]:
    """Return what is allowed but likely to surprise."""
    return [
        *[
            f"llm_models[{model.name}].fallbacks: vectors of {' and '.join(model.fallbacks)} do not fit its index"
            for model in catalog.models
            if model.mode == EMBEDDING and model.fallbacks
        ],
        *[
            f"{instance.where}: it takes memory, and no model asks it; "
            f"backends: [{{provider: {LLAMACPP}, model: {instance.name}}}] in llm_models does"
            for instance in _unasked(catalog)
        ],
    ]


def _unasked(catalog: Catalog) -> list[Instance]:
    asked = {backend.model for model in catalog.models for backend in model.backends if backend.provider == LLAMACPP}
    provider = catalog.providers.get(LLAMACPP)
    return [instance for name, instance in provider.instances.items() if name not in asked] if provider else []


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


def _overflow_problems(model: Model, by_name: dict[str, Model]) -> list[Problem]:
    path = f"llm_models[{model.name}].on_context_overflow"
    name = model.on_context_overflow
    target = by_name.get(name)
    if not name:
        return []
    if model.mode == EMBEDDING:
        return [Problem(path, "vectors of another model do not fit this one's index", "Remove it")]
    if target is None:
        return [Problem(path, f"{name!r} is not a declared model", did_you_mean(name, by_name))]
    if name == model.name:
        return [Problem(path, "is this model itself", "Name one with a longer context, or remove it")]
    if target.mode != CHAT:
        return [Problem(path, f"{name!r} is for {target.mode}, {model.name!r} for chat", "Name a chat model")]
    return _short_overflow_problems(path, model, target)


def _short_overflow_problems(path: str, model: Model, target: Model) -> list[Problem]:
    if model.context is None or target.context is None or target.context > model.context:
        return []
    what = f"{target.name!r} has a context of {target.context}, no longer than the {model.context} of {model.name!r}"
    return [Problem(path, what, "Name one with a longer context, or remove it")]


def _ability_problems(model: Model, catalog: Catalog) -> list[Problem]:
    problems = []
    providers = [catalog.providers.get(backend.provider) for backend in model.backends]
    # A provider that nobody declared is reported by itself, and might have been meant to be Ollama.
    if model.resident and providers and all(provider and provider.kind != OLLAMA for provider in providers):
        what = "only Ollama keeps models in memory, and no backend of this one is Ollama's"
        problems.append(Problem(f"llm_models[{model.name}].resident", what, "Remove it, or add an Ollama backend"))
    if model.tools and model.mode == EMBEDDING:
        what = "a model for embeddings calls no tools"
        problems.append(Problem(f"llm_models[{model.name}].tools", what, "Remove it"))
    return problems


def _derived_name_problems(catalog: Catalog) -> list[Problem]:
    """Report upstream models that have the name of a derived one, which no registry knows."""
    derived = {entry["name"]: entry for entry in models_to_derive(catalog)}
    problems = []
    for model in catalog.models:
        for index, backend in enumerate(model.backends):
            entry = derived.get(_short(backend.model)) if backend.provider == OLLAMA else None
            if entry:
                context = entry["parameters"]["num_ctx"]
                what = f"{backend.model!r} is what the gateway calls {entry['from']} with context: {context}"
                instead = f"Write model: {entry['from']!r} and that context"
                problems.append(Problem(f"llm_models[{model.name}].backends[{index}].model", what, instead))
    return problems


def _short(upstream: str) -> str:
    try:
        return parse(upstream).short.lower()
    except InvalidName:
        return upstream


def _upstream_name_problems(path: str, upstream: str) -> list[Problem]:
    """Report a name that Ollama would refuse when it is to be pulled."""
    try:
        parse(upstream)
    except InvalidName as error:
        return [Problem(path, str(error).replace(FORM, "").strip().rstrip("."), FORM.rstrip("."))]
    return []


def _default_fallback_problems(names: tuple[str, ...], by_name: dict[str, Model]) -> list[Problem]:
    problems = []
    for index, name in enumerate(names):
        path = f"llm_default_fallbacks[{index}]"
        target = by_name.get(name)
        if target is None:
            problems.append(Problem(path, f"{name!r} is not a declared model", did_you_mean(name, by_name)))
        elif target.mode != CHAT:
            problems.append(
                Problem(path, f"{name!r} is for {target.mode}, and only chats fall back", "Name a chat model")
            )
        elif name in names[:index]:
            problems.append(Problem(path, f"{name!r} stands here twice", "Remove one"))
    return problems


def _circle_problems(by_name: dict[str, Model]) -> list[Problem]:
    """Report each circle once, at the model of it that was declared first."""
    rules = (
        ("fallbacks", "the fallbacks go in a circle", next_by_fallback(by_name)),
        ("on_context_overflow", "long questions go in a circle", next_by_overflow(by_name)),
    )
    return [
        Problem(f"llm_models[{circle[0]}].{key}", f"{what}: {' -> '.join([*circle, circle[0]])}", "Remove one of them")
        for key, what, next_of in rules
        for circle in circles(by_name, next_of)
    ]


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
        if provider.kind == OLLAMA:
            problems += _upstream_name_problems(f"{path}.model", backend.model)
        if provider.kind == LLAMACPP:
            problems += _instance_problems(path, model, backend, provider)
        problems += _file_problems(f"{path}.gguf", backend, provider, catalog)
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
        if provider.kind != LLAMACPP and not model.mode_declared and looks_like_embedding(backend.model):
            problems.append(
                Problem(
                    f"{path}.model",
                    f"{backend.model!r} makes embeddings and cannot chat",
                    "Add mode: embedding to this model, or mode: chat if its name misleads",
                ),
            )
    return problems


def _instance_problems(path: str, model: Model, backend: Backend, provider: Provider) -> list[Problem]:
    """Report an instance of llama.cpp that is not declared, or cannot do what the model asks of it."""
    instance = provider.instances.get(backend.model)
    if instance is None:
        what = f"{backend.model!r} is not declared in {LIST}"
        return [Problem(f"{path}.model", what, did_you_mean(backend.model, provider.instances))]
    problems = []
    if instance.embeddings != (model.mode == EMBEDDING):
        does = "makes embeddings and cannot chat" if instance.embeddings else "chats and makes no embeddings"
        wanted = str(not instance.embeddings).lower()
        what = f"{instance.where} {does}, and this model is for {model.mode}"
        problems.append(
            Problem(
                f"{path}.model", what, f"Name another instance, or write embeddings: {wanted} there if that is true"
            )
        )
    if model.context is not None and model.context > instance.context:
        what = f"{model.context} is more than the {instance.context} of {instance.where}"
        instead = f"Write context: {model.context} there, or a smaller one here"
        problems.append(Problem(f"llm_models[{model.name}].context", what, instead))
    return problems


def _file_problems(path: str, backend: Backend, provider: Provider, catalog: Catalog) -> list[Problem]:
    """Report a file that nothing is made of, or two declarations of one model of a file."""
    if provider.kind != OLLAMA:
        return [Problem(path, "only Ollama makes models of files", "Remove it")] if backend.gguf else []
    first = next(
        other
        for model in catalog.models
        for other in model.backends
        if other.provider == OLLAMA and name_key(other.model) == name_key(backend.model)
    )
    if first.gguf == backend.gguf:
        return []
    return [Problem(path, f"{backend.model!r} is declared before with another file, or with none", "Write the same")]


def looks_like_embedding(upstream_model: str) -> bool:
    """Tell an embedding model by its name, as the well-known ones carry it (nomic-embed-text, bge-m3, all-minilm)."""
    name = upstream_model.rsplit("/", 1)[-1].lower()
    return "embed" in name or name.startswith(("bge-", "all-minilm", "paraphrase-multilingual"))
