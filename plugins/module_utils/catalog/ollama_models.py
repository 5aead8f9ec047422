"""The catalog in Ollama's words: what a server must hold, which models are derived there, and which stay in memory.

LiteLLM asks Ollama in OpenAI's dialect, which has no word for the context (Ollama openai/openai.go), so a model that
declares one gets a derived model of its own: the same weights, and ``num_ctx`` beside them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ..ollama.names import MAX_TAG_LENGTH, InvalidName, Name, parse
from .declaration import OLLAMA, Backend, Catalog, Model

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGEST_LENGTH = 8


def served_name(model: Model, backend: Backend) -> str:
    """Return the name under which Ollama serves a backend: the upstream model's own, or the derived model's."""
    return backend.model if model.context is None else derived_name(backend.model, model.context)


def derived_name(base: str, context: int) -> str:
    """Return the name of the derived model with a context in tokens, such as ``qwen3.5:2b-ctx8192``.

    Equal for two spellings of one base, since Ollama ignores case and fills in what a name leaves out.
    """
    suffix = f"-ctx{context}"
    try:
        name = parse(base)
    except InvalidName:
        # Reported by itself; what is returned here is only shown beside that report.
        return f"{base}{suffix}"
    tag = name.tag
    if len(tag) + len(suffix) > MAX_TAG_LENGTH:
        digest = hashlib.sha256(name.key.encode()).hexdigest()[:_DIGEST_LENGTH]
        tag = f"{tag[: MAX_TAG_LENGTH - len(suffix) - 1 - _DIGEST_LENGTH]}-{digest}"
    return Name(name.host, name.namespace, name.model, f"{tag}{suffix}").short.lower()


def models_to_pull(catalog: Catalog) -> list[str]:
    """Return what comes from Ollama's registry, each name once, in the order of the catalog."""
    imported = {name_key(backend.model) for _, backend in _backends(catalog) if backend.gguf}
    pulled = (backend.model for _, backend in _backends(catalog) if name_key(backend.model) not in imported)
    return list(dict.fromkeys(pulled))


def models_to_import(catalog: Catalog) -> list[dict[str, Any]]:
    """Return the models made of files as ``ollama_model`` takes them: ``name``, ``path``, ``remote_src`` and so on."""
    found: dict[str, dict[str, Any]] = {}
    for _, backend in _backends(catalog):
        if backend.gguf:
            told = {"sha256": backend.gguf.sha256, "quantize": backend.gguf.quantize}
            found.setdefault(
                name_key(backend.model),
                {
                    "name": backend.model,
                    "path": backend.gguf.path,
                    "remote_src": backend.gguf.on_box,
                    **{key: value for key, value in told.items() if value},
                },
            )
    return list(found.values())


def name_key(upstream: str) -> str:
    """Return what two spellings of one model of Ollama's have in common; an invalid name is reported by itself."""
    try:
        return parse(upstream).key
    except InvalidName:
        return upstream


def models_to_derive(catalog: Catalog) -> list[dict[str, Any]]:
    """Return the derived models as the module ``ollama_model`` takes them: ``name``, ``from`` and ``parameters``."""
    found: dict[str, dict[str, Any]] = {}
    for model, backend in _backends(catalog):
        if model.context is not None:
            name = served_name(model, backend)
            found.setdefault(name, {"name": name, "from": backend.model, "parameters": {"num_ctx": model.context}})
    return list(found.values())


def models_to_serve(catalog: Catalog) -> list[dict[str, Any]]:
    """Return what Ollama serves, each once: ``name``, ``from``, ``context`` (tokens, or None) and ``resident``."""
    found: dict[str, dict[str, Any]] = {}
    for model, backend in _backends(catalog):
        name = served_name(model, backend)
        entry = {"name": name, "from": backend.model, "context": model.context, "resident": model.resident}
        found.setdefault(name, entry)["resident"] |= model.resident
    return list(found.values())


def models_to_keep_loaded(catalog: Catalog) -> list[str]:
    """Return what stays in memory, by the names that Ollama serves."""
    return list(dict.fromkeys(served_name(model, backend) for model, backend in _backends(catalog) if model.resident))


def _backends(catalog: Catalog) -> Iterable[tuple[Model, Backend]]:
    return [(model, backend) for model in catalog.models for backend in model.backends if backend.provider == OLLAMA]
