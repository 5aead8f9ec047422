"""What the catalog says about clients, models and budgets, read from the file that Ansible writes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLICY_FILE = "/run/litellm-secrets/policy.json"


@dataclass(frozen=True)
class Budget:
    """What may be spent in a calendar month (UTC).

    Attributes:
        monthly_usd: the budget in US dollars.
        limit_usd: what may be spent before others must answer; below the budget where a share of it is kept back.
    """

    monthly_usd: float
    limit_usd: float


@dataclass(frozen=True)
class Client:
    """An application or person with a key of its own.

    Attributes:
        name: shown in logs, metrics and messages.
        models: every model it may ask.
        default_model: what ``model: default`` means for it.
        fallback_model: its own single fallback, in place of the model's chain.
        fallback_on: HTTP statuses of errors that fall back for it; None leaves that to the gateway.
        rpm: requests a minute.
        tpm: tokens a minute.
        max_parallel_requests: requests at the same time.
        budget: what it may spend.
    """

    name: str
    models: tuple[str, ...]
    default_model: str | None = None
    fallback_model: str | None = None
    fallback_on: frozenset[int] | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_parallel_requests: int | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Policy:
    """The whole file.

    Attributes:
        namespace: prefix of the keys in Redis.
        redis_host: where the spend is kept.
        redis_port: TCP port there.
        refuse_without_redis: whether budgets that cannot be read count as used up.
        cache_ttl: seconds for which answers are kept, by model; other models are not cached.
        provider_budgets: budgets by provider.
        deployments: provider by LiteLLM's deployment id.
        clients: clients by name.
        names_by_hash: client name by the SHA-256 of a key.
    """

    namespace: str
    redis_host: str
    redis_port: int
    refuse_without_redis: bool
    cache_ttl: dict[str, int]
    provider_budgets: dict[str, Budget]
    deployments: dict[str, str]
    clients: dict[str, Client]
    names_by_hash: dict[str, str] = field(repr=False)

    def client_of_key(self, key: str) -> Client | None:
        """Return who owns a key; the key itself is nowhere on this box, only its hash."""
        name = self.names_by_hash.get(hashlib.sha256(key.encode()).hexdigest())
        return self.clients[name] if name is not None else None


def read_policy(declared: dict[str, Any]) -> Policy:
    """Build the policy from the parsed file.

    Raises:
        KeyError: a part of the file is missing.
    """
    return Policy(
        namespace=declared["namespace"],
        redis_host=declared["redis"]["host"],
        redis_port=declared["redis"]["port"],
        refuse_without_redis=declared["budget_unavailable"] == "closed",
        cache_ttl={name: model["cache_ttl"] for name, model in declared["models"].items() if model.get("cache_ttl")},
        provider_budgets={name: _provider_budget(given) for name, given in declared["providers"].items()},
        deployments=dict(declared["deployments"]),
        clients={name: _client(name, given) for name, given in declared["clients"].items()},
        names_by_hash={key: name for name, given in declared["clients"].items() for key in given["key_hashes"]},
    )


def _provider_budget(given: dict[str, Any]) -> Budget:
    monthly = float(given["monthly_budget_usd"])
    return Budget(monthly, monthly * float(given["fallback_at_percent"]) / 100)


def _client(name: str, given: dict[str, Any]) -> Client:
    monthly = given.get("monthly_budget_usd")
    statuses = given.get("fallback_on")
    return Client(
        name=name,
        models=tuple(given["models"]),
        default_model=given.get("default_model"),
        fallback_model=given.get("fallback_model"),
        fallback_on=frozenset(statuses) if statuses else None,
        rpm=given.get("rpm"),
        tpm=given.get("tpm"),
        max_parallel_requests=given.get("max_parallel_requests"),
        budget=Budget(float(monthly), float(monthly)) if monthly is not None else None,
    )


def load_policy() -> Policy:
    """Read the policy of this replica.

    Raises:
        OSError: the file is missing or closed to this user. LiteLLM then does not start.
    """
    return read_policy(json.loads(Path(os.environ.get("GATEWAY_POLICY", POLICY_FILE)).read_text(encoding="utf-8")))
