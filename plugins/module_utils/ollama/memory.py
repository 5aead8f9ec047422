"""How much memory a model needs once it is loaded, before anybody loads it.

The formula is Ollama's own (llm/llama_server.go PredictServerVRAM): the weights, a key and a value of 16 bits for each
token in each layer, and room to compute. Models with sliding windows or with layers of other kinds need less.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_GIB = 1024**3
_BYTES_OF_A_VALUE = 2
# What the keys and values take of 16 bits each (llm/llama_server.go).
CACHE_SHARES = {"f16": 1.0, "q8_0": 0.5, "q4_0": 0.25}
_COMPUTE_BYTES = _GIB
# Of a model that is not there only the size is known. With a fifth of the weights for 8192 tokens the result is within
# a seventh of the formula's for llama3.2:3b and qwen3:8b.
_CONTEXT_SHARE = 0.2 / 8192
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": _GIB, "t": 1024 * _GIB, "p": 1024**2 * _GIB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?")


class Shape(NamedTuple):
    """What decides how much memory a token takes."""

    bytes_per_token: int
    context_limit: int  # tokens; the model was trained with no more
    has_projector: bool  # it reads pictures


def read_shape(model_info: Mapping[str, Any], *, has_projector: bool) -> Shape | None:
    """Return the shape from the ``model_info`` of /api/show, None where that does not tell it.

    The keys are those of GGUF: ``<architecture>.block_count`` and so on.
    """
    architecture = model_info.get("general.architecture")

    def number(key: str) -> int:
        value = model_info.get(f"{architecture}.{key}")
        # With a value for each layer Ollama takes the smallest.
        if isinstance(value, list):
            value = min((entry for entry in value if type(entry) is int and entry > 0), default=0)
        return value if type(value) is int else 0

    heads = number("attention.head_count")
    layers, width, limit = number("block_count"), number("embedding_length"), number("context_length")
    if not (heads and layers and width and limit):
        return None
    per_head = width // heads
    key_heads = number("attention.head_count_kv") or heads
    return Shape(2 * layers * key_heads * per_head * _BYTES_OF_A_VALUE, limit, has_projector)


def needed_bytes(weights: int, context: int, parallel: int, shape: Shape | None, cache_type: str = "f16") -> int:
    """Return the bytes a model takes in memory.

    Args:
        weights: bytes of its files.
        context: tokens of one conversation.
        parallel: conversations at the same time; each has a context of its own.
        shape: what is known of the model; without it the result is an estimate from the weights.
        cache_type: how keys and values are kept, a key of ``CACHE_SHARES``.
    """
    share = CACHE_SHARES[cache_type]
    if shape is None:
        return round(weights * (1 + _CONTEXT_SHARE * context * parallel * share)) + _COMPUTE_BYTES
    tokens = min(context, shape.context_limit) * parallel
    projector = _COMPUTE_BYTES if shape.has_projector else 0
    return weights + round(tokens * shape.bytes_per_token * share) + _COMPUTE_BYTES + projector


def parse_size(text: str) -> int:
    """Return the bytes of a size as Compose writes it, such as ``32g``; raises ValueError when it is none.

    It is read as Docker does (go-units RAMInBytes): k, kb, kib and so on are powers of 1024.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no size. Write it like 32g.")
    return int(float(match[1]) * _UNITS[match[2]])
