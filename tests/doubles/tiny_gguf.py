#!/usr/bin/env python3
"""Writes a language model of some hundred kilobytes that llama.cpp runs: random weights, random words as answers.

It lets a real llama.cpp server answer where no model can be downloaded. The layout follows the GGUF specification
(ggml `docs/gguf.md`, version 3); names of tensors and keys follow llama.cpp `gguf-py/gguf/constants.py`, architecture
`llama`, and the vocabulary follows SentencePiece with byte tokens, as LLaMA's own.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

GGUF_VERSION = 3
ALIGNMENT = 32
# Value types and tensor types of GGUF.
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
TENSOR_FLOAT32 = 0
# Token types of llama.cpp.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

CONTEXT_TOKENS = 2048
WIDTH = 64
INNER_WIDTH = 128
LAYERS = 2
HEADS = 4

WORDS = """
    apple bridge candle door engine field garden hill island journey kettle lantern mirror needle orchard paper
    quiet river stone table umbrella valley window yellow zebra and on of the with
"""
END = 2
CHAT_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"

# So much stands in the first place of every embedding, and in the second place of words: it outweighs the random rest.
ANCHOR = 8.0
# What these two places weigh for a token in the output. Words may always come, the end only after a word, and what
# would make an answer unreadable never.
LIKELY, AFTER_WORDS, NEVER = (1.0, 0.0), (-2.0, 3.1), (-8.0, 0.0)

Value = int | float | str | Sequence[str] | Sequence[float] | Sequence[int]


@dataclass(frozen=True)
class Token:
    """A piece of text, what kind it is, and how gladly the model says it."""

    text: str
    kind: int
    chance: tuple[float, float]

    @property
    def anchors(self) -> tuple[float, float]:
        """The fixed places of its embedding."""
        return (ANCHOR, ANCHOR if self.chance == LIKELY else 0.0)


@dataclass(frozen=True)
class Tensor:
    """A matrix or a vector. `shape` counts as GGUF does: the length of a row first."""

    name: str
    shape: tuple[int, ...]
    values: Sequence[float]

    def content(self) -> bytes:
        """The values as 32-bit floats."""
        return struct.pack(f"<{len(self.values)}f", *self.values)


def vocabulary() -> list[Token]:
    """Control tokens, all bytes, the printable characters, and the words of which answers are made."""
    special = [Token("<unk>", UNKNOWN, NEVER), Token("<s>", CONTROL, NEVER), Token("</s>", CONTROL, AFTER_WORDS)]
    every_byte = [Token(f"<0x{byte:02X}>", BYTE, NEVER) for byte in range(256)]
    characters = [Token(chr(code), NORMAL, NEVER) for code in range(0x21, 0x7F)]
    # SentencePiece writes a blank as U+2581.
    words = [Token(f"\u2581{word}", NORMAL, LIKELY) for word in WORDS.split()]
    return [*special, *every_byte, *characters, Token("\u2581", NORMAL, NEVER), *words]


def metadata(tokens: Sequence[Token]) -> dict[str, Value]:
    """The keys that llama.cpp needs to load the model and its tokenizer."""
    return {
        "general.architecture": "llama",
        "general.name": "tiny random words",
        "general.alignment": ALIGNMENT,
        "llama.vocab_size": len(tokens),
        "llama.context_length": CONTEXT_TOKENS,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER_WIDTH,
        "llama.block_count": LAYERS,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [token.text for token in tokens],
        "tokenizer.ggml.scores": [float(-index) for index in range(len(tokens))],
        "tokenizer.ggml.token_type": [token.kind for token in tokens],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def tensors(tokens: Sequence[Token], seed: int) -> Iterator[Tensor]:
    """The weights, the same for the same seed."""
    chance = random.Random(seed)

    def matrix(name: str, inputs: int, outputs: int, spread: float) -> Tensor:
        return Tensor(name, (inputs, outputs), [chance.gauss(0, spread) for _ in range(inputs * outputs)])

    def anchored(name: str, anchors: Sequence[tuple[float, float]], spread: float) -> Tensor:
        rows = ([*pair, *(chance.gauss(0, spread) for _ in range(WIDTH - 2))] for pair in anchors)
        return Tensor(name, (WIDTH, len(anchors)), [value for row in rows for value in row])

    ones = [1.0] * WIDTH
    yield anchored("token_embd.weight", [token.anchors for token in tokens], 1.0)
    yield Tensor("output_norm.weight", (WIDTH,), ones)
    yield anchored("output.weight", [token.chance for token in tokens], 0.1)
    for layer in range(LAYERS):
        yield Tensor(f"blk.{layer}.attn_norm.weight", (WIDTH,), ones)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield matrix(f"blk.{layer}.{part}.weight", WIDTH, WIDTH, 0.05)
        yield Tensor(f"blk.{layer}.ffn_norm.weight", (WIDTH,), ones)
        yield matrix(f"blk.{layer}.ffn_gate.weight", WIDTH, INNER_WIDTH, 0.05)
        yield matrix(f"blk.{layer}.ffn_up.weight", WIDTH, INNER_WIDTH, 0.05)
        yield matrix(f"blk.{layer}.ffn_down.weight", INNER_WIDTH, WIDTH, 0.05)


def encoded_text(text: str) -> bytes:
    """A string as GGUF writes it: its length in bytes, then UTF-8."""
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def encoded_value(value: Value) -> bytes:
    """A value with its type before it; raise `TypeError` for a list of something else than text or numbers."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + encoded_text(value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    head = struct.Struct("<IIQ")
    if all(isinstance(item, str) for item in value):
        return head.pack(ARRAY, STRING, len(value)) + b"".join(encoded_text(str(item)) for item in value)
    if all(isinstance(item, int) for item in value):
        return head.pack(ARRAY, INT32, len(value)) + struct.pack(f"<{len(value)}i", *value)
    if all(isinstance(item, float) for item in value):
        return head.pack(ARRAY, FLOAT32, len(value)) + struct.pack(f"<{len(value)}f", *value)
    raise TypeError("a list holds text, whole numbers or floats, and only one of them")


def padded(content: bytes) -> bytes:
    """The content, filled up to the next multiple of the alignment."""
    return content + bytes(-len(content) % ALIGNMENT)


def model(seed: int = 0) -> bytes:
    """The whole file."""
    tokens = vocabulary()
    keys = metadata(tokens)
    weights = list(tensors(tokens, seed))
    head = [b"GGUF", struct.pack("<IQQ", GGUF_VERSION, len(weights), len(keys))]
    head += [encoded_text(key) + encoded_value(value) for key, value in keys.items()]
    data: list[bytes] = []
    offset = 0
    for tensor in weights:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head.append(encoded_text(tensor.name) + shape + struct.pack("<IQ", TENSOR_FLOAT32, offset))
        data.append(padded(tensor.content()))
        offset += len(data[-1])
    return padded(b"".join(head)) + b"".join(data)


def main(arguments: list[str]) -> int:
    """Write the model to the file that is named; return the exit code."""
    parser = argparse.ArgumentParser(description="Write a tiny language model with random weights for llama.cpp.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other weights (default: 0)")
    options = parser.parse_args(arguments)
    options.file.write_bytes(model(options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
