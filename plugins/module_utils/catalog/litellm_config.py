"""The catalog in LiteLLM's words: the configuration of the proxy and the secrets it names.

Every choice here was measured on LiteLLM 1.108 and 1.109; the comments give the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .declaration import EMBEDDING, OLLAMA, OPENAI_COMPATIBLE, Backend, Catalog, Model, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

MASTER_KEY = "LITELLM_MASTER_KEY"
REDIS_PASSWORD = "REDIS_PASSWORD"  # noqa: S105 - the name of the variable, not its value
# A hung Redis would cost each request 15 s without all three of these time-outs, in seconds.
REDIS_TIMEOUT = 0.3
REDIS_TIMEOUTS = {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}


@dataclass(frozen=True)
class Deployment:
    """One entry of LiteLLM's model list: a backend at one address.

    Attributes:
        id: stable name for budgets, cooldowns and metrics; LiteLLM's own is a hash that changes with the key.
        description: who this is, for people.
        api_base: address of the API, or empty for the service's own.
        api_key_variable: environment variable with the key, or empty when the endpoint wants none.
        upstream: LiteLLM's ``provider/model``.
        paid: whether a request costs money.
    """

    id: str
    description: str
    api_base: str
    api_key_variable: str
    upstream: str
    paid: bool


def deployments(model: Model, providers: Mapping[str, Provider], ollama_boxes: Mapping[str, str]) -> list[Deployment]:
    """Return every deployment of a model: one for each hosted backend, one a box for each Ollama backend.

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
        else:
            found.append(_remote_deployment(model, backend, provider))
    return found


def _ollama_deployment(model: Model, backend: Backend, box: str, address: str) -> Deployment:
    return Deployment(
        id=f"{model.name}/{OLLAMA}/{backend.model}@{box}",
        description=f"{backend.model} on {box}",
        # With `ollama_chat/` a refused connection never opens the breaker, so Ollama is asked in OpenAI's dialect.
        api_base=f"{address}/v1",
        api_key_variable="",
        upstream=f"openai/{backend.model}",
        paid=False,
    )


def _remote_deployment(model: Model, backend: Backend, provider: Provider) -> Deployment:
    prefix = "openai" if provider.kind == OPENAI_COMPATIBLE else provider.kind
    return Deployment(
        id=f"{model.name}/{provider.name}/{backend.model}",
        description=f"{backend.model} at {provider.name}",
        api_base=provider.api_base,
        api_key_variable=provider.key_variable if provider.api_key else "",
        upstream=f"{prefix}/{backend.model}",
        paid=provider.paid,
    )


def litellm_config(
    catalog: Catalog, ollama_boxes: Mapping[str, str], redis_host: str, redis_port: int = 6379
) -> dict[str, Any]:
    """Return the configuration file of LiteLLM as one structure; secrets appear as ``os.environ/NAME`` only."""
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
            # Opens on the third failure, for this many seconds. LiteLLM's own default never opens for a lone backend.
            "allowed_fails": 2,
            "cooldown_time": 60,
            "fallbacks": [{model.name: list(model.fallbacks)} for model in catalog.models if model.fallbacks],
            "redis_host": redis_host,
            "redis_port": redis_port,
            "redis_password": f"os.environ/{REDIS_PASSWORD}",
            "cache_kwargs": dict(REDIS_TIMEOUTS),
        },
        "litellm_settings": {
            "json_logs": True,
            # Redis for shared counters only: answers are not cached.
            "cache": True,
            "cache_params": {
                "type": "redis",
                "host": redis_host,
                "port": redis_port,
                "password": f"os.environ/{REDIS_PASSWORD}",
                "namespace": "llm",
                "supported_call_types": [],
                **REDIS_TIMEOUTS,
            },
        },
        "general_settings": {
            "master_key": f"os.environ/{MASTER_KEY}",
            # Without a database LiteLLM answers a wrong key with 400; ours says 401.
            "custom_auth": "auth.user_api_key_auth",
        },
    }


def _model_entry(model: Model, deployment: Deployment) -> dict[str, Any]:
    params: dict[str, Any] = {
        "model": deployment.upstream,
        "api_key": f"os.environ/{deployment.api_key_variable}" if deployment.api_key_variable else "none",
        "timeout": model.timeout,
        "stream_timeout": model.first_token_timeout,
    }
    if deployment.api_base:
        params["api_base"] = deployment.api_base
    if not deployment.paid:
        # Said outright, so that a local model is never counted against a budget.
        params["input_cost_per_token"] = 0
        params["output_cost_per_token"] = 0
    info = {"id": deployment.id}
    if model.mode == EMBEDDING:
        info["mode"] = EMBEDDING
    return {"model_name": model.name, "litellm_params": params, "model_info": info}


def environment(catalog: Catalog, master_key: str, redis_password: str) -> dict[str, str]:
    """Return the environment variables that the configuration names, with their secret values."""
    used = {backend.provider for model in catalog.models for backend in model.backends}
    keys = {
        provider.key_variable: provider.api_key
        for provider in catalog.providers.values()
        if provider.api_key and provider.name in used
    }
    return {MASTER_KEY: master_key, REDIS_PASSWORD: redis_password, **keys}
