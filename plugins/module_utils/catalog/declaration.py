"""The user's declaration as typed objects: providers, models and their backends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import Field, Undefined, kind_of, list_of_mappings, list_of_text, one_of, read, seconds, text, url
from .problems import Problem, did_you_mean

OLLAMA = "ollama"
OPENAI_COMPATIBLE = "openai_compatible"
CHAT = "chat"
EMBEDDING = "embedding"

# Hosted services by LiteLLM's own provider prefix (litellm `provider/model`), and whether they offer embeddings there.
HOSTED = {
    "anthropic": False,
    "deepseek": False,
    "gemini": True,
    "groq": False,
    "mistral": True,
    "openai": True,
    "openrouter": False,
    "together_ai": True,
    "xai": False,
}
KINDS = (*HOSTED, OPENAI_COMPATIBLE)

# Whole answer and silence before the first token, in seconds. Ollama is silent while it loads a model from disk, and a
# client that gives up earlier aborts the load, so that the next one starts from nothing.
TIMEOUTS = {OLLAMA: (600, 600), "": (120, 30)}

_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*\Z")
_RESERVED_MODEL_NAMES = ("default",)

_PROVIDER_FIELDS = {
    "kind": Field(one_of(*KINDS), f"one of {', '.join(KINDS)}"),
    "api_key": Field(text, 'a vault variable, such as api_key: "{{ vault_openai_api_key }}"'),
    "api_base": Field(url, "the address of the API, such as http://10.0.0.7:8080/v1"),
}
_MODEL_FIELDS = {
    "name": Field(text, "the name clients ask for, such as name: local", required=True),
    "mode": Field(one_of(CHAT, EMBEDDING), "mode: chat or mode: embedding"),
    "backends": Field(
        list_of_mappings, 'at least one, such as backends: [{provider: ollama, model: "qwen3.5:2b"}]', required=True
    ),
    "fallbacks": Field(list_of_text, "names of other models, such as fallbacks: [local]"),
    "timeout": Field(seconds, "seconds for a whole answer, such as timeout: 120"),
    "first_token_timeout": Field(seconds, "seconds until the first token, such as first_token_timeout: 10"),
}
_BACKEND_FIELDS = {
    "provider": Field(text, "a provider of llm_providers, or ollama", required=True),
    "model": Field(text, "the name of the model at that provider", required=True),
}


@dataclass(frozen=True)
class Provider:
    """An account or an endpoint that answers.

    Attributes:
        name: its key in ``llm_providers``.
        kind: ``ollama``, ``openai_compatible`` or a hosted service.
        api_key: the secret, or empty when the endpoint wants none.
        api_base: the address of the API, or empty for the service's own.
    """

    name: str
    kind: str
    api_key: str = ""
    api_base: str = ""

    @property
    def paid(self) -> bool:
        """Whether a request costs money: hosted services do, a server in the house does not."""
        return self.kind in HOSTED

    @property
    def key_variable(self) -> str:
        """Name of the environment variable that carries the key into LiteLLM."""
        return f"PROVIDER_{self.name.upper()}_API_KEY"


@dataclass(frozen=True)
class Backend:
    """One thing that can answer for a model: a provider and the model's name there."""

    provider: str
    model: str


@dataclass(frozen=True)
class Model:
    """A name clients ask for.

    Attributes:
        name: the name in requests.
        mode: ``chat`` or ``embedding``.
        mode_declared: whether the user wrote the mode.
        backends: who answers; several share the load.
        fallbacks: names of models tried in this order when every backend fails.
        timeout: seconds for a whole answer.
        first_token_timeout: seconds of silence before the first token, and between two tokens.
    """

    name: str
    mode: str
    mode_declared: bool
    backends: tuple[Backend, ...]
    fallbacks: tuple[str, ...]
    timeout: float
    first_token_timeout: float


@dataclass(frozen=True)
class Catalog:
    """Everything declared: providers by name, models in the order in which they were written."""

    providers: Mapping[str, Provider]
    models: tuple[Model, ...]


def read_catalog(providers: Any, models: Any) -> tuple[Catalog, list[Problem]]:
    """Read ``llm_providers`` and ``llm_models`` as the user wrote them.

    Returns:
        The catalog of everything that could be read, and every problem. Plan only from a catalog without problems.
    """
    read_providers, problems = _read_providers(providers)
    known = {**read_providers, OLLAMA: Provider(OLLAMA, OLLAMA)}
    declared_names = {*known, *(providers if isinstance(providers, Mapping) else ())}
    read_models, model_problems = _read_models(models, known, declared_names)
    return Catalog(known, read_models), problems + model_problems


def _read_providers(declared: Any) -> tuple[dict[str, Provider], list[Problem]]:
    where = "llm_providers"
    if isinstance(declared, Undefined):
        return {}, [declared.problem(where)]
    if not isinstance(declared, Mapping):
        return {}, [
            Problem(
                where,
                f"is not a mapping but {kind_of(declared)}",
                "Write a name for each provider, or llm_providers: {}",
            )
        ]
    providers: dict[str, Provider] = {}
    problems: list[Problem] = []
    for name, given in declared.items():
        path = f"{where}.{name}"
        values, found = read(given, path, _PROVIDER_FIELDS)
        problems += found
        if not isinstance(name, str) or not _PROVIDER_NAME.match(name):
            problems.append(
                Problem(path, "is not a provider name", "Use small letters, digits and _, such as together_ai")
            )
            continue
        if name == OLLAMA:
            problems.append(
                Problem(
                    path, "is always there and takes no settings", "Remove it: every box of group ollama answers for it"
                )
            )
            continue
        if not isinstance(given, Mapping):
            continue
        broken = {problem.path for problem in found}
        kind = values.get("kind", name)
        if f"{path}.kind" not in broken and kind not in KINDS:
            problems.append(
                Problem(path, f"{name!r} is not a service this gateway knows", f"Add kind: one of {', '.join(KINDS)}"),
            )
        if kind in HOSTED and "api_key" not in values and f"{path}.api_key" not in broken:
            problems.append(
                Problem(
                    f"{path}.api_key",
                    "is missing",
                    f'Write api_key: "{{{{ vault_{name}_api_key }}}}" and put the key into the vault',
                ),
            )
        if kind == OPENAI_COMPATIBLE and "api_base" not in values and f"{path}.api_base" not in broken:
            problems.append(Problem(f"{path}.api_base", "is missing", f"Write {_PROVIDER_FIELDS['api_base'].example}"))
        providers[name] = Provider(name, kind, values.get("api_key", ""), values.get("api_base", "").rstrip("/"))
    return providers, problems


def _read_models(
    declared: Any, providers: Mapping[str, Provider], declared_providers: set[str]
) -> tuple[tuple[Model, ...], list[Problem]]:
    where = "llm_models"
    if isinstance(declared, Undefined):
        return (), [declared.problem(where)]
    if not isinstance(declared, list) or not declared:
        what = "is an empty list" if declared == [] else f"is not a list but {kind_of(declared)}"
        return (), [Problem(where, what, "Declare at least one model, each with a name and backends")]
    models: list[Model] = []
    problems: list[Problem] = []
    for index, given in enumerate(declared):
        name = given.get("name") if isinstance(given, Mapping) else None
        path = f"{where}[{name if isinstance(name, str) and name else index}]"
        values, found = read(given, path, _MODEL_FIELDS)
        backends, backend_problems = _read_backends(values.get("backends", []), path, providers, declared_providers)
        problems += found + backend_problems
        if "name" not in values:
            continue
        problems += _name_problems(values["name"], path, models)
        kinds = {providers[backend.provider].kind for backend in backends if backend.provider in providers}
        timeout, first_token = TIMEOUTS[OLLAMA if OLLAMA in kinds else ""]
        timeout = values.get("timeout", timeout)
        models.append(
            Model(
                name=values["name"],
                mode=values.get("mode", CHAT),
                mode_declared="mode" in values,
                backends=tuple(backends),
                fallbacks=tuple(values.get("fallbacks", ())),
                timeout=timeout,
                first_token_timeout=values.get("first_token_timeout", min(first_token, timeout)),
            ),
        )
    return tuple(models), problems


def _name_problems(name: str, path: str, earlier: list[Model]) -> list[Problem]:
    problems = []
    if not _MODEL_NAME.match(name):
        problems.append(
            Problem(f"{path}.name", f"{name!r} is not a model name", "Use letters, digits and . _ : / - only")
        )
    if name in _RESERVED_MODEL_NAMES:
        problems.append(
            Problem(f"{path}.name", f"{name!r} is kept for a client's default model", "Choose another name")
        )
    if name in {model.name for model in earlier}:
        problems.append(
            Problem(
                f"{path}.name",
                "two models have this name",
                "Rename one, or give one model both backends to share the load",
            ),
        )
    return problems


def _read_backends(
    declared: list[Any], model_path: str, providers: Mapping[str, Provider], declared_providers: set[str]
) -> tuple[list[Backend], list[Problem]]:
    backends: list[Backend] = []
    problems: list[Problem] = []
    for index, given in enumerate(declared):
        path = f"{model_path}.backends[{index}]"
        values, found = read(given, path, _BACKEND_FIELDS)
        problems += found
        if "provider" not in values or "model" not in values:
            continue
        backend = Backend(values["provider"], values["model"])
        if backend.provider not in declared_providers:
            problems.append(
                Problem(
                    f"{path}.provider",
                    f"{backend.provider!r} is not declared",
                    did_you_mean(backend.provider, providers),
                ),
            )
        if backend in backends:
            problems.append(Problem(path, "the same backend stands here twice", "Remove one"))
        backends.append(backend)
    return backends, problems
