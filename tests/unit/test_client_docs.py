"""What the pages tell a user to write into the catalog passes its check."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils.catalog.plan import Declaration, check
from tests.unit.catalog_samples import IMAGES, SETTINGS

REPOSITORY = Path(__file__).resolve().parents[2]
PRICES = json.loads((REPOSITORY / "plugins/module_utils/catalog/prices.json").read_text(encoding="utf-8"))["models"]
SHIPPED = yaml.safe_load((REPOSITORY / "group_vars/all/models.yml").read_text(encoding="utf-8"))["llm_models"]


def blocks(page: str, variable: str) -> list[dict[str, Any]]:
    """Return the YAML of a page that declares a variable, with a value for each one of the vault."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    filled = re.sub(r"\{\{ (\w+) \}\}", lambda match: f"sk-{hashlib.sha256(match[1].encode()).hexdigest()}", text)
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", filled, re.DOTALL)]
    return [block for block in found if variable in block]


def problems(**declared: Any) -> list[str]:
    declaration = Declaration(
        settings=SETTINGS,
        images=IMAGES,
        gateway_box="box",
        gateway_boxes=("box",),
        ollama_boxes=("box",),
        ollama_address="http://ollama:11434",
        redis_host="redis",
        known_prices={kind: frozenset(names) for kind, names in PRICES.items()},
        **{"providers": {}, "models": SHIPPED, "default_fallbacks": [], "clients": [], **declared},
    )
    return [str(problem) for problem in check(declaration)]


@pytest.mark.parametrize(
    "block", blocks("providers.md", "llm_models"), ids=lambda block: block["llm_models"][0]["name"]
)
def test_the_examples_of_the_providers_are_accepted(block: dict[str, Any]) -> None:
    assert problems(providers=block["llm_providers"], models=block["llm_models"]) == []


def test_every_provider_has_an_example() -> None:
    named = {name for block in blocks("providers.md", "llm_models") for name in block["llm_providers"]}
    assert named == {"anthropic", "openai", "together_ai", "openrouter", "llamacpp", "vllm"}


def test_the_example_of_a_client_fits_the_models_as_shipped() -> None:
    (block,) = blocks("clients.md", "llm_clients")
    assert problems(clients=block["llm_clients"]) == []


def test_the_prices_that_the_page_speaks_of() -> None:
    """Which models need a price of their own is a fact of LiteLLM's list."""
    assert PRICES["openrouter"] == []
    assert "claude-opus-4-5" in PRICES["anthropic"]
    assert {"gpt-5.4", "text-embedding-3-small"} <= set(PRICES["openai"])
    assert "deepseek-ai/deepseek-v3" in PRICES["together_ai"]
