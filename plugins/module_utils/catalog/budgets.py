"""Rules about money: what has a budget has a price, and nothing that is free leads to a bill without a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .chains import ways_from
from .declaration import CHAT, Catalog, Model
from .prices import KnownPrices, costs_money, is_priced
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clients import Client


def budget_problems(catalog: Catalog, clients: Sequence[Client], known: KnownPrices) -> list[Problem]:
    """Return every rule about money that the declaration breaks.

    Args:
        catalog: the models and providers.
        clients: who may ask.
        known: the models of which LiteLLM knows a price.
    """
    return [
        *_price_problems(catalog, clients, known),
        *_bill_problems(catalog),
        *_client_bill_problems(catalog, clients),
    ]


def budget_warnings(catalog: Catalog, clients: Sequence[Client]) -> list[str]:
    """Return the clients whose bill nothing limits."""
    warnings = []
    for client in clients:
        open_ended = dict.fromkeys(name for model in client.may_ask(catalog) for name in _unlimited(model, catalog))
        if open_ended and client.monthly_budget_usd is None:
            warnings.append(
                f"{client.path}: nothing limits what it may cost at {' and '.join(open_ended)}; "
                "monthly_budget_usd here or at the provider does"
            )
    return warnings


def _unlimited(model: Model, catalog: Catalog) -> list[str]:
    """Return the providers of a model that cost money and have no budget."""
    return [
        backend.provider
        for backend in model.backends
        if backend.provider in catalog.providers
        and costs_money(backend, catalog.providers[backend.provider])
        and not catalog.providers[backend.provider].budget_declared
    ]


def _is_free(model: Model, catalog: Catalog) -> bool:
    return not any(
        costs_money(backend, catalog.providers[backend.provider])
        for backend in model.backends
        if backend.provider in catalog.providers
    )


def _price_problems(catalog: Catalog, clients: Sequence[Client], known: KnownPrices) -> list[Problem]:
    problems = []
    for model in catalog.models:
        askers = [
            f"client {client.name}"
            for client in clients
            if client.monthly_budget_usd is not None and model in client.may_ask(catalog)
        ]
        for index, backend in enumerate(model.backends):
            provider = catalog.providers.get(backend.provider)
            if provider is None or is_priced(backend, provider, known):
                continue
            owners = [provider.name] if provider.budget_declared else []
            owners += askers if costs_money(backend, provider) else []
            if owners:
                problems.append(
                    Problem(
                        f"llm_models[{model.name}].backends[{index}].price",
                        f"is missing: LiteLLM knows no price of {backend.model!r}, "
                        f"and the budget of {' and '.join(owners)} needs one",
                        "Write price: {input_per_million_usd: 3, output_per_million_usd: 15} with its real prices",
                    )
                )
    return problems


def _bill_problems(catalog: Catalog) -> list[Problem]:
    """Report free models from which a request may go on to a provider that costs money and has no budget."""
    by_name = {model.name: model for model in catalog.models}
    found: dict[tuple[str, str], Problem] = {}
    for model in catalog.models:
        if not _is_free(model, catalog):
            continue
        for first, names in ways_from(model, catalog):
            # A free model on the way has its own line.
            if any(_is_free(by_name[name], catalog) for name in names[1:-1]):
                continue
            for provider in _unlimited(by_name[names[-1]], catalog):
                what = (
                    f"{model.name!r} is free, but {' -> '.join(names)} costs money at {provider}, which has no budget"
                )
                instead = (
                    f"Write monthly_budget_usd for llm_providers.{provider}, or take {names[-1]!r} out of this chain"
                )
                found.setdefault((first.path, provider), Problem(first.path, what, instead))
    return list(found.values())


def _client_bill_problems(catalog: Catalog, clients: Sequence[Client]) -> list[Problem]:
    """Report clients whose own fallback turns a free model into a bill that nothing limits."""
    by_name = {model.name: model for model in catalog.models}
    problems = []
    for client in clients:
        target = by_name.get(client.fallback_model)
        if target is None or client.monthly_budget_usd is not None:
            continue
        free = [model for model in client.may_ask(catalog) if model.mode == CHAT and _is_free(model, catalog)]
        problems += [
            Problem(
                f"{client.path}.fallback_model",
                f"{free[0].name!r} is free, but {target.name!r} costs money at {provider}, which has no budget",
                f"Write monthly_budget_usd here or for llm_providers.{provider}, or name a free model",
            )
            for provider in (_unlimited(target, catalog) if free else [])
        ]
    return problems
