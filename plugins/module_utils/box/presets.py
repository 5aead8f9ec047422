"""The ready lists of models under docs/examples/models, and what each takes on a box."""

from __future__ import annotations

from typing import NamedTuple

from ..ollama.memory import Shape, needed_bytes

FOLDER = "docs/examples/models"
# Tokens of a conversation: the presets declare none, so the server's own holds (ollama_context_length).
CONTEXT = 8192
CHAT, EMBEDDING = "chat", "embedding"
_MB = 10**6


class Sized(NamedTuple):
    """A model of Ollama's library as it was listed; each run reads the real size from the registry."""

    name: str
    mode: str  # chat or embedding
    bytes: int  # of its files, so also of its download
    shape: Shape


class Preset(NamedTuple):
    """A list of models for a kind of hardware."""

    name: str  # of its file, without .yml
    for_gpu: bool  # whether its models belong into the memory of GPUs, or into that of the box
    gib: int  # memory for which it is made
    models: tuple[Sized, ...]

    @property
    def path(self) -> str:
        """Its file, from the folder of the project."""
        return f"{FOLDER}/{self.name}.yml"


# The shapes follow by read_shape from the published configurations: layers, heads, width and longest context.
_NOMIC = Sized("nomic-embed-text", EMBEDDING, 274 * _MB, Shape(36864, 2048, has_projector=False))
SMALLEST_CHAT = Sized("qwen3.5:0.8b", CHAT, 1000 * _MB, Shape(24576, 262144, has_projector=True))
# Those for the box's memory first, then those for GPUs, the smaller before the larger.
PRESETS = (
    Preset(
        "cpu-8gb",
        for_gpu=False,
        gib=8,
        models=(Sized("qwen3:4b-instruct", CHAT, 2500 * _MB, Shape(92160, 262144, has_projector=False)), _NOMIC),
    ),
    Preset(
        "vram-8gb",
        for_gpu=True,
        gib=8,
        models=(Sized("qwen3.5:4b", CHAT, 3400 * _MB, Shape(81920, 262144, has_projector=True)), _NOMIC),
    ),
    Preset(
        "vram-16gb",
        for_gpu=True,
        gib=16,
        models=(Sized("qwen3.5:9b", CHAT, 6600 * _MB, Shape(131072, 262144, has_projector=True)), _NOMIC),
    ),
    Preset(
        "vram-24gb",
        for_gpu=True,
        gib=24,
        models=(
            Sized("gpt-oss:20b", CHAT, 13800 * _MB, Shape(34560, 131072, has_projector=False)),
            Sized("qwen3-embedding:0.6b", EMBEDDING, 639 * _MB, Shape(57344, 32768, has_projector=False)),
        ),
    ),
)


def model_bytes(model: Sized) -> int:
    """Return the bytes of memory that a model takes: the larger of what a run says before and after it is pulled."""
    return max(needed_bytes(model.bytes, CONTEXT, 1, shape) for shape in (None, model.shape))


def preset_bytes(preset: Preset) -> int:
    """Return the bytes of memory that all models of a preset take together."""
    return sum(model_bytes(model) for model in preset.models)
