"""How many bytes the declared Ollama models still need."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from ..ollama.names import InvalidName
from ..ollama.registry import NotInRegistry, RegistryUnreachable, UnknownModel
from .parallel import Outcome, run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .shapes import ModelFacts, ModelsFacts, PathFacts

# Ollama keeps a layer as blobs/sha256-<hex>, and one on its way as sha256-<hex>-partial (Ollama server/download.go).
_BLOB = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(?P<partial>-partial)?")
_BLOCK_BYTES = 512  # the unit of st_blocks (man 3type stat)
_STATES = {
    UnknownModel: "unknown",
    RegistryUnreachable: "unreachable",
    TimeoutError: "unreachable",
    NotInRegistry: "elsewhere",
    InvalidName: "invalid",
}


def held_bytes(directory: Path) -> tuple[int, dict[str, int]]:
    """Bytes on disk under a models directory, altogether and by layer digest, layers half loaded included."""
    used = 0
    layers: dict[str, int] = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                status = os.lstat(Path(parent) / name)
            except FileNotFoundError:
                continue  # Ollama removed or renamed it meanwhile
            on_disk = status.st_blocks * _BLOCK_BYTES
            used += on_disk
            match = _BLOB.match(name)
            if match:
                digest = "sha256:" + match["hex"]
                # A partial file is sparse, so only its blocks tell how much is there.
                held = on_disk if match["partial"] else status.st_size
                layers[digest] = max(layers.get(digest, 0), held)
    return used, layers


def size_models(
    names: Sequence[str],
    ask: Callable[[str], dict[str, int]],
    directory: PathFacts | None,
    timeout_s: float,
) -> ModelsFacts:
    """Ask for the layers of every model side by side, for at most ``timeout_s`` seconds together.

    ``ask`` gives the layers of a model, digest to bytes, and raises the errors of ollama/registry.py.
    """
    outcomes = run_all({name: partial(ask, name) for name in names}, timeout_s)
    used, held = held_bytes(Path(directory["path"])) if directory else (0, {})
    layers: dict[str, int] = {}
    for outcome in outcomes.values():
        layers.update(outcome.value or {})
    return {
        "directory": directory,
        "used_bytes": used,
        "total_bytes": sum(layers.values()),
        "missing_bytes": _missing(layers, held),
        "items": [_item(name, outcome, held) for name, outcome in outcomes.items()],
    }


def _missing(layers: dict[str, int], held: dict[str, int]) -> int:
    return sum(max(size - held.get(digest, 0), 0) for digest, size in layers.items())


def _item(name: str, outcome: Outcome, held: dict[str, int]) -> ModelFacts:
    if outcome.error is not None:
        state = _STATES.get(type(outcome.error))
        if state is None:
            raise outcome.error
        return {"name": name, "state": state, "bytes": 0, "missing_bytes": 0, "detail": str(outcome.error)}
    layers: dict[str, int] = outcome.value
    return {
        "name": name,
        "state": "known",
        "bytes": sum(layers.values()),
        "missing_bytes": _missing(layers, held),
        "detail": "",
    }
