"""The catalog in LiteLLM's words: the configuration of the proxy and the secrets it names.

Every choice here was measured on LiteLLM 1.108 and 1.109; the comments give the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .chains import fallbacks_of
from .declaration import EMBEDDING, OLLAMA, OPENAI_COMPATIBLE, Backend, Catalog, Model, Provider
from .instances import LLAMACPP
from .ollama_models import served_name
from .prices import costs_money

if TYPE_CHECKING:
    from collections.abc import Mapping

MASTER_KEY = "LITELLM_MASTER_KEY"
REDIS_PASSWORD = "REDIS_PASSWORD"  # noqa: S105 - the name of the variable, not its value
# A hung Redis would cost each request 15 s without all three of these time-outs, in seconds.
REDIS_TIMEOUT = 0.2
SENTRY_DSN = "SENTRY_DSN"
SENTRY_TRACE_RATE = "SENTRY_API_TRACE_RATE"
# Prefix of every key in Redis, LiteLLM's and the gateway's own.
NAMESPACE = "llm"
REDIS_PORT = 6379
REDIS_TIMEOUTS = {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
# The calls that give answers worth keeping, by the names of LiteLLM's functions.
CACHED_CALLS = ("acompletion", "atext_completion", "aembedding", "aresponses", "anthropic_messages")
# Without this LiteLLM's figures carry addresses, agents and hashes of keys: 360 KB after 40 requests. One label or name
# that LiteLLM does not know, and it starts without any figures.
METRICS = (
    ("requests", ("litellm_proxy_total_requests_metric",), ("requested_model", "status_code", "api_key_alias")),
    (
        "failures",
        ("litellm_proxy_failed_requests_metric",),
        ("requested_model", "exception_status", "exception_class", "api_key_alias"),
    ),
    (
        "answers",
        (
            "litellm_request_total_latency_metric",
            "litellm_llm_api_latency_metric",
            "litellm_llm_api_time_to_first_token_metric",
            "litellm_spend_metric",
            "litellm_input_tokens_metric",
            "litellm_output_tokens_metric",
        ),
        ("requested_model", "api_provider", "api_key_alias"),
    ),
    (
        "backends",
        ("litellm_deployment_state", "litellm_deployment_cooled_down"),
        ("litellm_model_name", "model_id", "api_base"),
    ),
    (
        "fallbacks",
        ("litellm_deployment_successful_fallbacks", "litellm_deployment_failed_fallbacks"),
        ("requested_model", "fallback_model"),
    ),
)


@dataclass(frozen=True)
class Deployment:
    """One entry of LiteLLM's model list: a backend at one address.

    Attributes:
        id: stable name for budgets, cooldowns and metrics; LiteLLM's own is a hash that changes with the key.
        provider: name of the provider.
        description: who this is, for people.
        api_base: address of the API, or empty for the service's own.
        api_key_variable: environment variable with the key, or empty when the endpoint wants none.
        upstream: LiteLLM's ``provider/model``.
        paid: whether a request costs money.
        backend: what was declared: limits and price.
    """

    id: str
    provider: str
    description: str
    api_base: str
    api_key_variable: str
    upstream: str
    paid: bool
    backend: Backend


def deployments(model: Model, providers: Mapping[str, Provider], ollama_boxes: Mapping[str, str]) -> list[Deployment]:
    """Return every deployment of a model: one for each backend, for one of Ollama's one a box.

    Args:
        model: a model of the catalog.
        providers: the providers by name.
        ollama_boxes: address of Ollama (``http://host:port``) by box.
    """
    found = []
    for backend in model.backends:
        provider = providers[backend.provider]
        if provider.kind == OLLAMA:
            found += [_ollama_deployment(model, backend, box, address) for box, address in ollama_boxes.items()]
        elif provider.kind == LLAMACPP:
            found.append(_llamacpp_deployment(model, backend, provider))
        else:
            found.append(_remote_deployment(model, backend, provider))
    return found


def _file_of(backend: Backend) -> str:
    """Return what tells one file from another; with another the model counts as changed."""
    if backend.gguf is None:
        return ""
    told = (backend.gguf.path, backend.gguf.quantize, (backend.gguf.sha256 or "")[:12])
    return f" ({', '.join(part for part in told if part)})"


def _ollama_deployment(model: Model, backend: Backend, box: str, address: str) -> Deployment:
    return Deployment(
        id=f"{model.name}/{OLLAMA}/{backend.model}@{box}",
        provider=OLLAMA,
        description=f"{backend.model}{_file_of(backend)} on {box}",
        # With `ollama_chat/` a refused connection never opens the breaker, so Ollama is asked in OpenAI's dialect.
        api_base=f"{address}/v1",
        api_key_variable="",
        upstream=f"openai/{served_name(model, backend)}",
        paid=costs_money(backend, Provider(OLLAMA, OLLAMA)),
        backend=backend,
    )


def _llamacpp_deployment(model: Model, backend: Backend, provider: Provider) -> Deployment:
    instance = provider.instances[backend.model]
    return Deployment(
        id=f"{model.name}/{LLAMACPP}/{backend.model}",
        provider=provider.name,
        # With another file the model counts as changed.
        description=f"{backend.model} ({instance.path}) by llama.cpp",
        api_base=instance.address,
        api_key_variable="",
        upstream=f"openai/{backend.model}",
        paid=costs_money(backend, provider),
        backend=backend,
    )


def _remote_deployment(model: Model, backend: Backend, provider: Provider) -> Deployment:
    prefix = "openai" if provider.kind == OPENAI_COMPATIBLE else provider.kind
    return Deployment(
        id=f"{model.name}/{provider.name}/{backend.model}",
        provider=provider.name,
        description=f"{backend.model} at {provider.name}",
        api_base=provider.api_base,
        api_key_variable=provider.key_variable if provider.api_key else "",
        upstream=f"{prefix}/{backend.model}",
        paid=costs_money(backend, provider),
        backend=backend,
    )


def litellm_config(
    catalog: Catalog,
    ollama_boxes: Mapping[str, str],
    redis_host: str,
    redis_port: int = REDIS_PORT,
    *,
    report_to_sentry: bool = False,
) -> dict[str, Any]:
    """Return the configuration file of LiteLLM as one structure; secrets appear as ``os.environ/NAME`` only."""
    redis = {"host": redis_host, "port": redis_port, "password": f"os.environ/{REDIS_PASSWORD}"}
    return {
        "model_list": [
            _model_entry(model, deployment)
            for model in catalog.models
            for deployment in deployments(model, catalog.providers, ollama_boxes)
        ],
        "router_settings": {
            # The other strategies pick a dead Ollama again and again: it is the fastest to answer.
            "routing_strategy": "simple-shuffle",
            # A retry multiplies the wait on a hung backend; fallbacks do this work.
            "num_retries": 0,
            # Without this a model's second backend answers only once the breaker of the first is open.
            "enable_weighted_failover": True,
            # Opens on the third failure, for this many seconds. LiteLLM's own default never opens for a lone backend.
            "allowed_fails": 2,
            "cooldown_time": 60,
            **_chains(catalog),
            **_backend_limits(catalog),
            **{f"redis_{key}": value for key, value in redis.items()},
            "cache_kwargs": dict(REDIS_TIMEOUTS),
        },
        "litellm_settings": {
            "json_logs": True,
            "callbacks": ["gateway.hooks.handler", "prometheus"],
            # Among `callbacks` it would also get the questions themselves, as breadcrumbs.
            **({"failure_callback": ["sentry"]} if report_to_sentry else {}),
            "prometheus_metrics_config": [
                {"group": group, "metrics": list(metrics), "include_labels": list(labels)}
                for group, metrics, labels in METRICS
            ],
            # Clients do not reach the figures: the ingress shows them to the monitoring networks alone.
            "require_auth_for_metrics_endpoint": False,
            # Without both of these checks a client may ask any model, and empty the cache.
            "enable_post_custom_auth_checks": True,
            "cache": True,
            "cache_params": {
                "type": "redis",
                **redis,
                "namespace": NAMESPACE,
                **_answers_to_keep(catalog),
                **REDIS_TIMEOUTS,
            },
        },
        "general_settings": {
            "master_key": f"os.environ/{MASTER_KEY}",
            # Without a database LiteLLM answers a wrong key with 400; ours says 401.
            "custom_auth": "gateway.auth.user_api_key_auth",
            "custom_auth_run_common_checks": True,
        },
    }


def _chains(catalog: Catalog) -> dict[str, Any]:
    """Return who takes over from whom, as the router wants it."""
    fallbacks = {model.name: list(fallbacks_of(model, catalog)) for model in catalog.models}
    chains: dict[str, Any] = {"fallbacks": [{name: targets} for name, targets in fallbacks.items() if targets]}
    overflow = [{model.name: [model.on_context_overflow]} for model in catalog.models if model.on_context_overflow]
    if overflow:
        chains["context_window_fallbacks"] = overflow
    return chains


def _backend_limits(catalog: Catalog) -> dict[str, Any]:
    """Return the check that enforces limits of backends; with the strategy alone they are weights and no limits."""
    limited = any(backend.rpm or backend.tpm for model in catalog.models for backend in model.backends)
    return {"optional_pre_call_checks": ["enforce_model_rate_limits"]} if limited else {}


def _answers_to_keep(catalog: Catalog) -> dict[str, Any]:
    """Return which answers Redis keeps: none, unless a model says so; it is needed for shared counters all the same."""
    lifetimes = [model.cache_ttl for model in catalog.models if model.cache_ttl is not None]
    if not lifetimes:
        return {"supported_call_types": []}
    # Each request gets its model's own lifetime; the shortest is for what slips through.
    return {"supported_call_types": list(CACHED_CALLS), "ttl": min(lifetimes)}


def _model_entry(model: Model, deployment: Deployment) -> dict[str, Any]:
    params: dict[str, Any] = {
        "model": deployment.upstream,
        "api_key": f"os.environ/{deployment.api_key_variable}" if deployment.api_key_variable else "none",
        "timeout": model.timeout,
        "stream_timeout": model.first_token_timeout,
    }
    if deployment.api_base:
        params["api_base"] = deployment.api_base
    backend = deployment.backend
    if backend.price is not None:
        params["input_cost_per_token"] = backend.price.input_per_million_usd / 1e6
        params["output_cost_per_token"] = backend.price.output_per_million_usd / 1e6
    elif not deployment.paid:
        # Said outright, so that a local model is never counted against a budget.
        params["input_cost_per_token"] = 0
        params["output_cost_per_token"] = 0
    limits = {"rpm": backend.rpm, "tpm": backend.tpm}
    params.update({key: limit for key, limit in limits.items() if limit is not None})
    if any(other.rpm or other.tpm for other in model.backends):
        # Limits would be shares of the load as well, and a backend without one would get nothing.
        params["weight"] = 1
    info = {"id": deployment.id}
    if model.mode == EMBEDDING:
        info["mode"] = EMBEDDING
    return {"model_name": model.name, "litellm_params": params, "model_info": info}


def environment(catalog: Catalog, master_key: str, redis_password: str, sentry_dsn: str = "") -> dict[str, str]:
    """Return the environment variables that the configuration names, with their secret values."""
    used = {backend.provider for model in catalog.models for backend in model.backends}
    keys = {
        provider.key_variable: provider.api_key
        for provider in catalog.providers.values()
        if provider.api_key and provider.name in used
    }
    # Errors alone: LiteLLM would send the course of every request too.
    sentry = {SENTRY_DSN: sentry_dsn, SENTRY_TRACE_RATE: "0"} if sentry_dsn else {}
    return {MASTER_KEY: master_key, REDIS_PASSWORD: redis_password, **keys, **sentry}
