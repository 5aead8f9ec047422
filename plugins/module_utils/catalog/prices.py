"""Which models have a price: the catalog's own, or LiteLLM's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .declaration import HOSTED, OLLAMA, Backend, Provider
from .instances import LLAMACPP

# Names of models with a price above 0 in LiteLLM's map, in small letters and without prefix, by kind of provider.
KnownPrices = Mapping[str, frozenset[str]]

# LiteLLM looks a name up once more without these endings (litellm/utils.py, `_strip_model_name`).
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}\Z")
_ENDINGS = {"gemini": re.compile(r"-\d+\Z")}
_FINE_TUNED = re.compile(r"(?::[^:]*){3}\Z")


def costs_money(backend: Backend, provider: Provider) -> bool:
    """Tell whether somebody sends a bill for a request: where a price is declared it decides, else hosted services do.

    Nobody does for what runs on one's own box; a price there only makes it count against the budgets of clients.
    """
    if provider.kind in (OLLAMA, LLAMACPP):
        return False
    if backend.price is not None:
        return backend.price.input_per_million_usd > 0 or backend.price.output_per_million_usd > 0
    return provider.kind in HOSTED


def is_priced(backend: Backend, provider: Provider, known: KnownPrices) -> bool:
    """Tell whether LiteLLM will count what a request to a backend costs."""
    return backend.price_declared or any(
        name in known.get(provider.kind, ()) for name in names_looked_up(provider.kind, backend.model)
    )


def names_looked_up(kind: str, model: str) -> list[str]:
    """Return the names under which LiteLLM looks for the price of a model, as the list of prices writes them."""
    name = model.lower()
    if name.startswith(f"{kind}/"):
        name = name.split("/", 1)[1]
    ending = _ENDINGS.get(kind, _FINE_TUNED if "ft:" in name else _DATE)
    return list(dict.fromkeys([name, ending.sub("", name)]))
