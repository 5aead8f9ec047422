"""How long Ollama may be silent while it loads a model from disk, by the size that the model's name tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Seconds of silence allowed when no name tells the size: 54 GB from a slow disk.
UNKNOWN_SIZE = 600
# Less is never allowed: a small model has a long prompt to read too, on a processor without a GPU.
LEAST = 120
# A hard disk, or a box whose disk is shared; a solid-state disk is five times faster.
BYTES_PER_SECOND = 100e6
# Seconds for what is not reading: another model is unloaded, the runner starts, the prompt is read.
MARGIN = 60
# Seconds for the answer itself after that: 2400 tokens at 5 a second.
GENERATION = 480

# 0.6 GB for a billion weights of 4 bits, which is how Ollama's library packs a model unless its tag says otherwise.
_BYTES_PER_WEIGHT = {"q5": 0.75, "q6": 0.85, "q8": 1.1, "f16": 2.0, "fp16": 2.0, "bf16": 2.0, "f32": 4.0, "fp32": 4.0}
_PACKED_IN_4_BITS = 0.6
_FIXED_BYTES = 0.5e9
# 135m, 2b, 1.5b, 8x7b; the 3b of 30b-a3b are the active weights, and all 30 are loaded.
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_PACKING = re.compile(r"(?<![a-z0-9])(q5|q6|q8|bf16|fp?16|fp?32)(?![a-z0-9])")


def weights_size(upstream_model: str) -> float | None:
    """Return the estimated bytes of a model on disk from its name (``qwen3.5:2b``), or None when it tells nothing."""
    name = upstream_model.rsplit("/", 1)[-1].lower().replace("_", "-")
    size = _SIZE.search(name)
    if size is None:
        return None
    weights = int(size[1] or 1) * float(size[2]) * (1e9 if size[3] == "b" else 1e6)
    packing = _PACKING.search(name)
    return weights * (_BYTES_PER_WEIGHT[packing[1]] if packing else _PACKED_IN_4_BITS) + _FIXED_BYTES


def silence(upstream_models: Iterable[str]) -> int:
    """Return the seconds of silence that the largest of these models needs when Ollama has to load it first.

    A client that gives up earlier makes Ollama stop loading, so that the next one starts from nothing.
    """
    sizes = [weights_size(name) for name in upstream_models]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return UNKNOWN_SIZE
    return max([LEAST, *(round(size / BYTES_PER_SECOND) + MARGIN for size in known)])
