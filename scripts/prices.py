#!/usr/bin/env python3
"""Write the names of the models of which LiteLLM knows a price, for the check that every budget can be counted.

    scripts/prices.py litellm-1.108.10-cp310-abi3-manylinux_2_28_x86_64.whl

The wheel is the one that runs: `pip download --no-deps litellm==VERSION`, the version in group_vars/all/images.yml.
It carries LiteLLM's map of prices, from which the running proxy takes them too (LITELLM_LOCAL_MODEL_COST_MAP=True).
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plugins.module_utils.catalog.declaration import CHAT, EMBEDDING, HOSTED  # noqa: E402

PRICE_MAP = "litellm/model_prices_and_context_window_backup.json"
TARGET = ROOT / "plugins/module_utils/catalog/prices.json"


def priced_models(price_map: dict[str, Any]) -> dict[str, list[str]]:
    """Return the models with a price above 0 by kind of provider, in small letters and without that prefix."""
    found: dict[str, set[str]] = {kind: set() for kind in sorted(HOSTED)}
    for key, entry in price_map.items():
        kind = entry.get("litellm_provider")
        costs = entry.get("input_cost_per_token") or entry.get("output_cost_per_token")
        # These are price brackets, which LiteLLM guesses by the size in a name it does not know.
        if key.startswith("together-ai-"):
            continue
        if kind in found and entry.get("mode") in (CHAT, EMBEDDING) and costs:
            found[kind].add(key.lower().removeprefix(f"{kind}/"))
    return {kind: sorted(names) for kind, names in found.items()}


def main(wheel: Path) -> None:
    """Read the wheel and write the list."""
    with zipfile.ZipFile(wheel) as archive:
        price_map = json.loads(archive.read(PRICE_MAP))
    version = wheel.name.split("-")[1]
    models = priced_models(price_map)
    TARGET.write_text(json.dumps({"litellm": version, "models": models}, indent=1) + "\n", encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {sum(len(names) for names in models.values())} models of LiteLLM {version}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
