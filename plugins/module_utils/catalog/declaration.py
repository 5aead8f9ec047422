"""The user's declaration as typed objects: providers, models and their backends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ollama.gguf import QUANTIZATIONS
from . import loading
from .fields import (
    Field,
    Undefined,
    budget,
    kind_of,
    list_of_mappings,
    list_of_text,
    mapping,
    one_of,
    percent,
    price,
    read,
    seconds,
    text,
    tokens,
    truth,
    undefined_items,
    url,
    whole_number,
    whole_seconds,
)
from .instances import LIST, LLAMACPP, Instance
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

# Seconds for a whole answer and for the first token where nothing has to be loaded from disk first.
TIMEOUT = 120
FIRST_TOKEN_TIMEOUT = 30

_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*\Z")
_RESERVED_MODEL_NAMES = ("default",)

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def _gguf_path(value: Any) -> str | None:
    wrong = text(value)
    if wrong or value.startswith(("/", "~/")):
        return wrong
    return f"{value!r} is not an absolute path"


def _sum(value: Any) -> str | None:
    return None if isinstance(value, str) and _SHA256.fullmatch(value) else f"{value!r} is not a sum"


_PROVIDER_FIELDS = {
    "kind": Field(one_of(*KINDS), f"one of {', '.join(KINDS)}"),
    "api_key": Field(text, 'a vault variable, such as api_key: "{{ vault_openai_api_key }}"'),
    "api_base": Field(url, "the address of the API, such as http://10.0.0.7:8080/v1"),
    "monthly_budget_usd": Field(budget, "US dollars a calendar month, such as monthly_budget_usd: 100"),
    "fallback_at_percent": Field(percent, "the share of the budget after which others answer, such as 80"),
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
    "on_context_overflow": Field(text, "the name of a model with a longer context, such as on_context_overflow: long"),
    "cache_ttl": Field(
        whole_seconds, "seconds for which answers are kept, such as cache_ttl: 600; leave it out for none"
    ),
    "context": Field(tokens, "tokens of a question and its answer together, such as context: 8192"),
    "resident": Field(truth, "resident: true to load the model after each run and keep it in memory, or leave it out"),
    "tools": Field(truth, "tools: true for a model that calls tools, or leave it out"),
}
_BACKEND_FIELDS = {
    "provider": Field(text, "a provider of llm_providers, or ollama", required=True),
    "model": Field(text, "the name of the model at that provider", required=True),
    "rpm": Field(whole_number, "requests a minute, such as rpm: 100"),
    "tpm": Field(whole_number, "tokens a minute, such as tpm: 100000"),
    "price": Field(mapping, "price: {input_per_million_usd: 3, output_per_million_usd: 15}"),
    "gguf": Field(mapping, "gguf: {path: /srv/models/mine.gguf}, for a model of Ollama's that no registry has"),
}


_GGUF_FIELDS = {
    "path": Field(_gguf_path, "path: /srv/models/mine.gguf", required=True),
    "on_box": Field(truth, "on_box: true for a file that lies on the box, or leave it out for one on this machine"),
    "sha256": Field(_sum, "the 64 hex digits that sha256sum prints"),
    "quantize": Field(one_of(*QUANTIZATIONS), f"one of {', '.join(QUANTIZATIONS)}, or leave it out"),
}
_PRICE_FIELDS = {
    "input_per_million_usd": Field(
        price, "input_per_million_usd: 3, in US dollars for a million tokens asked", required=True
    ),
    "output_per_million_usd": Field(
        price, "output_per_million_usd: 15, in US dollars for a million tokens answered", required=True
    ),
}


@dataclass(frozen=True)
class Provider:
    """An account or an endpoint that answers.

    Attributes:
        name: its key in ``llm_providers``.
        kind: ``ollama``, ``llamacpp``, ``openai_compatible`` or a hosted service.
        api_key: the secret, or empty when the endpoint wants none.
        api_base: the address of the API, or empty for the service's own.
        monthly_budget_usd: what it may cost in a calendar month, in US dollars; None for no limit.
        fallback_at_percent: the share of the budget after which other models answer.
        budget_declared: whether the user wrote a budget, be it right or wrong.
        instances: the servers of llama.cpp on the box by name; none of another provider.
    """

    name: str
    kind: str
    api_key: str = field(default="", repr=False)
    api_base: str = ""
    monthly_budget_usd: float | None = None
    fallback_at_percent: float = 100
    budget_declared: bool = False
    instances: Mapping[str, Instance] = field(default_factory=dict)

    @property
    def key_variable(self) -> str:
        """Name of the environment variable that carries the key into LiteLLM."""
        return f"PROVIDER_{self.name.upper()}_API_KEY"


@dataclass(frozen=True)
class Price:
    """What a million tokens cost, in US dollars."""

    input_per_million_usd: float
    output_per_million_usd: float


@dataclass(frozen=True)
class Gguf:
    """A file of which Ollama makes a model.

    Attributes:
        path: where it lies.
        on_box: whether that is on the box, and not on the machine that runs Ansible.
        sha256: its sum in hex, or None where the user does not tell it.
        quantize: what Ollama makes of it, or None.
    """

    path: str
    on_box: bool = False
    sha256: str | None = None
    quantize: str | None = None


@dataclass(frozen=True)
class Backend:
    """One thing that can answer for a model.

    Attributes:
        provider: its name.
        model: the model's name there.
        rpm: requests a minute that it may get; None for no limit.
        tpm: tokens a minute that it may get; None for no limit.
        price: what it costs, where the user says so.
        price_declared: whether the user wrote a price, be it right or wrong.
        gguf: the file it is made of, for a model of Ollama's that no registry has.
    """

    provider: str
    model: str
    rpm: int | None = None
    tpm: int | None = None
    price: Price | None = None
    price_declared: bool = False
    gguf: Gguf | None = None


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
        on_context_overflow: name of the model that is asked when a question is too long for this one, or empty.
        cache_ttl: seconds for which answers are kept; None for not at all.
        context: tokens that a question and its answer may have together; None for what the backend allows.
        resident: whether its Ollama models are loaded after each run and stay in memory.
        tools: whether it is declared to call tools.
    """

    name: str
    mode: str
    mode_declared: bool
    backends: tuple[Backend, ...]
    fallbacks: tuple[str, ...]
    timeout: float
    first_token_timeout: float
    on_context_overflow: str = ""
    cache_ttl: int | None = None
    context: int | None = None
    resident: bool = False
    tools: bool = False


@dataclass(frozen=True)
class Catalog:
    """Everything declared about models.

    Attributes:
        providers: providers by name, those on the box included.
        models: in the order in which they were written.
        default_fallbacks: names of chat models that any chat model falls back to after its own fallbacks.
    """

    providers: Mapping[str, Provider]
    models: tuple[Model, ...]
    default_fallbacks: tuple[str, ...] = ()


def read_catalog(
    providers: Any, models: Any, default_fallbacks: Any, instances: Mapping[str, Instance]
) -> tuple[Catalog, list[Problem]]:
    """Read ``llm_providers``, ``llm_models`` and ``llm_default_fallbacks`` as the user wrote them.

    Args:
        providers: ``llm_providers``.
        models: ``llm_models``.
        default_fallbacks: ``llm_default_fallbacks``.
        instances: the servers of llama.cpp on the box by name.

    Returns:
        The catalog of everything that could be read, and every problem. Plan only from a catalog without problems.
    """
    read_providers, problems = _read_providers(providers, instances)
    known = {**read_providers, OLLAMA: Provider(OLLAMA, OLLAMA)}
    if instances:
        known[LLAMACPP] = Provider(LLAMACPP, LLAMACPP, instances=instances)
    declared_names = {*known, *(providers if isinstance(providers, Mapping) else ())}
    read_models, model_problems = _read_models(models, known, declared_names)
    read_defaults, default_problems = _read_default_fallbacks(default_fallbacks)
    return Catalog(known, read_models, read_defaults), [*problems, *model_problems, *default_problems]


def _read_default_fallbacks(declared: Any) -> tuple[tuple[str, ...], list[Problem]]:
    where = "llm_default_fallbacks"
    if isinstance(declared, Undefined):
        return (), [declared.problem(where)]
    undefined = undefined_items(declared, where)
    wrong = None if undefined else list_of_text(declared)
    if wrong:
        undefined = [Problem(where, wrong, f"Write names of chat models, such as {where}: [local], or {where}: []")]
    return (() if undefined else tuple(declared)), undefined


def _read_providers(declared: Any, instances: Mapping[str, Instance]) -> tuple[dict[str, Provider], list[Problem]]:
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
        if name == LLAMACPP and instances:
            what = f"is there for the instances of {LIST} and takes no settings"
            problems.append(Problem(path, what, "Give this one another name, here and in llm_models"))
            continue
        if not isinstance(given, Mapping):
            continue
        problems += _provider_problems(name, given, values, {problem.path for problem in found})
        providers[name] = Provider(
            name=name,
            kind=values.get("kind", name),
            api_key=values.get("api_key", ""),
            api_base=values.get("api_base", "").rstrip("/"),
            monthly_budget_usd=values.get("monthly_budget_usd"),
            fallback_at_percent=values.get("fallback_at_percent", 100),
            budget_declared="monthly_budget_usd" in given,
        )
    return providers, problems


def _provider_problems(
    name: str, given: Mapping[str, Any], values: Mapping[str, Any], broken: set[str]
) -> list[Problem]:
    """Return the rules between the keys of one provider that it breaks; ``broken`` holds paths reported already."""
    path = f"llm_providers.{name}"
    problems = []
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
    if "fallback_at_percent" in values and "monthly_budget_usd" not in given:
        problems.append(
            Problem(
                f"{path}.fallback_at_percent",
                "is a share of monthly_budget_usd, which is missing",
                "Write monthly_budget_usd: 100 beside it, or remove it",
            )
        )
    return problems


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
        timeout, first_token = _timeouts(values, _silences(backends, providers))
        models.append(
            Model(
                name=values["name"],
                mode=values.get("mode", CHAT),
                mode_declared="mode" in values,
                backends=tuple(backends),
                fallbacks=tuple(values.get("fallbacks", ())),
                timeout=timeout,
                first_token_timeout=first_token,
                on_context_overflow=values.get("on_context_overflow", ""),
                cache_ttl=values.get("cache_ttl"),
                context=values.get("context"),
                resident=values.get("resident", False),
                tools=values.get("tools", False),
            ),
        )
    return tuple(models), problems


def _silences(backends: list[Backend], providers: Mapping[str, Provider]) -> list[int]:
    """Return the seconds that each kind of backend on the box may be silent; none where all backends are elsewhere."""
    on_ollama = [backend.model for backend in backends if backend.provider == OLLAMA]
    silences = [loading.silence(on_ollama)] if on_ollama else []
    kinds = [providers[backend.provider].kind for backend in backends if backend.provider in providers]
    # It has loaded its model, but may have a long prompt to read on a processor.
    return [*silences, loading.LEAST] if LLAMACPP in kinds else silences


def _timeouts(declared: Mapping[str, Any], silences: list[int]) -> tuple[float, float]:
    """Return the seconds for a whole answer and for the first token; what the user wrote wins."""
    silence = max(silences, default=FIRST_TOKEN_TIMEOUT)
    first_token = declared.get("first_token_timeout", silence)
    whole = max(silence, first_token) + loading.GENERATION if silences else TIMEOUT
    timeout = declared.get("timeout", whole)
    return timeout, declared.get("first_token_timeout", min(silence, timeout))


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
        cost, price_problems = _read_price(values["price"], f"{path}.price") if "price" in values else (None, [])
        problems += price_problems
        file, file_problems = _read_gguf(values["gguf"], f"{path}.gguf") if "gguf" in values else (None, [])
        problems += file_problems
        backend = Backend(
            provider=values["provider"],
            model=values["model"],
            rpm=values.get("rpm"),
            tpm=values.get("tpm"),
            price=cost,
            price_declared="price" in given,
            gguf=file,
        )
        if backend.provider not in declared_providers:
            problems.append(
                Problem(
                    f"{path}.provider",
                    f"{backend.provider!r} is not declared",
                    _where_to_declare(backend.provider, providers),
                ),
            )
        if (backend.provider, backend.model) in [(other.provider, other.model) for other in backends]:
            problems.append(Problem(path, "the same backend stands here twice", "Remove one"))
        backends.append(backend)
    return backends, problems


def _where_to_declare(provider: str, providers: Mapping[str, Provider]) -> str:
    if provider == LLAMACPP:
        return f"Declare its file in {LIST} (group_vars/all/providers.yml), or a server elsewhere in llm_providers"
    return did_you_mean(provider, providers)


def _read_gguf(given: Any, path: str) -> tuple[Gguf | None, list[Problem]]:
    values, problems = read(given, path, _GGUF_FIELDS)
    return (Gguf(**values) if "path" in values else None), problems


def _read_price(given: Any, path: str) -> tuple[Price | None, list[Problem]]:
    values, problems = read(given, path, _PRICE_FIELDS)
    return (None if len(values) < len(_PRICE_FIELDS) else Price(**values)), problems
