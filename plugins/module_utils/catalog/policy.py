"""What the gateway's own hooks in LiteLLM must know: clients by the hash of their keys, budgets, and what is cached."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from .chains import fallbacks_of
from .litellm_config import NAMESPACE, deployments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .clients import Client
    from .declaration import Catalog, Provider

OPEN = "open"
CLOSED = "closed"


def gateway_policy(
    catalog: Catalog,
    clients: Sequence[Client],
    ollama_boxes: Mapping[str, str],
    redis_host: str,
    redis_port: int,
    budget_unavailable: str,
) -> dict[str, Any]:
    """Return the policy as plain data. It holds hashes of keys, and no key.

    Args:
        catalog: the models and providers.
        clients: who may ask.
        ollama_boxes: address of Ollama by box.
        redis_host: name under which LiteLLM reaches Redis.
        redis_port: TCP port of Redis.
        budget_unavailable: ``open`` or ``closed``, what a client with a budget gets while Redis is away.
    """
    return {
        "namespace": NAMESPACE,
        "redis": {"host": redis_host, "port": redis_port},
        "budget_unavailable": budget_unavailable,
        "models": {
            model.name: {
                "mode": model.mode,
                "cache_ttl": model.cache_ttl,
                "fallbacks": list(fallbacks_of(model, catalog)),
            }
            for model in catalog.models
        },
        "providers": {
            name: _provider(provider)
            for name, provider in catalog.providers.items()
            if provider.monthly_budget_usd is not None
        },
        "deployments": {
            deployment.id: deployment.provider
            for model in catalog.models
            for deployment in deployments(model, catalog.providers, ollama_boxes)
        },
        "clients": {client.name: _client(client, catalog) for client in clients},
    }


def _provider(provider: Provider) -> dict[str, Any]:
    return {
        "monthly_budget_usd": provider.monthly_budget_usd,
        "fallback_at_percent": provider.fallback_at_percent,
    }


def _client(client: Client, catalog: Catalog) -> dict[str, Any]:
    return {
        # The keys are long and random, so that a plain hash cannot be turned back by guessing.
        "key_hashes": [hashlib.sha256(key.encode()).hexdigest() for key in client.keys.values()],
        "models": [model.name for model in client.may_ask(catalog)],
        "default_model": client.default_model or None,
        "fallback_model": client.fallback_model or None,
        "fallback_on": None if client.fallback_on is None else list(client.fallback_on),
        "rpm": client.rpm,
        "tpm": client.tpm,
        "max_parallel_requests": client.max_parallel_requests,
        "monthly_budget_usd": client.monthly_budget_usd,
    }
