"""Which of the ready lists of models a box should take, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..gpu.verdict import CPU, able_gpus
from .presets import PRESETS, SMALLEST_CHAT, Preset, model_bytes, preset_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..gpu.shapes import GpuFacts

# The shares that a run compares models with: fit.py says fits, and tight.
_BOX_SHARE, _TIGHT_BOX_SHARE = 0.7, 0.85
# Ollama keeps some of a GPU's memory free, and a display takes some.
_GPU_SHARE = 0.9
_GIB, _GB = 1024**3, 10**9
_SHARED = "is part of the processor and shares the memory of the box"
_UNKNOWN = "does not tell its memory"
_FOR_GPU = tuple(preset for preset in PRESETS if preset.for_gpu)
_FOR_BOX = tuple(preset for preset in PRESETS if not preset.for_gpu)


class Cards(NamedTuple):
    """The memory of the GPUs that Ollama can use, apart from the box's own memory."""

    bytes: int  # their sum; 0 where there is none to count
    counted: int
    doubts: tuple[str, ...]  # why the memory of the others is not counted


class Choice(NamedTuple):
    """What a box should take."""

    preset: Preset | None  # None when even the smallest takes more than the box has
    room_bytes: int  # what models may take, of GPUs or of the box
    tight: bool  # more than leaves air for everything else on the box


def choose(gpu: GpuFacts, memory_bytes: int) -> Choice:
    """Return the largest preset for the GPUs, or where none fits there, the one for the memory of the box.

    Args:
        gpu: the result of gpu_facts.
        memory_bytes: memory of the box.
    """
    gpu_room = int(usable_cards(gpu).bytes * _GPU_SHARE)
    on_gpu = _largest(_FOR_GPU, gpu_room)
    if on_gpu:
        return Choice(on_gpu, gpu_room, tight=False)
    room, possible = int(memory_bytes * _BOX_SHARE), int(memory_bytes * _TIGHT_BOX_SHARE)
    on_box = _largest(_FOR_BOX, room)
    return Choice(on_box or _largest(_FOR_BOX, possible), room, tight=on_box is None)


def usable_cards(gpu: GpuFacts) -> Cards:
    """Return the memory of the GPUs that the verdict of gpu_facts lets Ollama run on.

    One that is part of the processor has no memory of its own, so it does not count.
    """
    able = able_gpus(gpu["gpus"], gpu["verdict"]["mode"])
    known = [card["memory_bytes"] for card in able if card["memory_bytes"] and not card["integrated"]]
    doubts = [
        f"{card['name']} {_SHARED if card['integrated'] else _UNKNOWN}"
        for card in able
        if card["integrated"] or not card["memory_bytes"]
    ]
    return Cards(sum(known), len(known), tuple(doubts))


def suggestion(gpu: GpuFacts, memory_bytes: int) -> str:
    """Return what was found on a box, which preset fits and why, and the command that takes it.

    Args:
        gpu: the result of gpu_facts.
        memory_bytes: memory of the box.
    """
    choice = choose(gpu, memory_bytes)
    preset = choice.preset
    advice = _instead(choice) if preset is None else _advice(preset, choice)
    return "\n".join([*_found(gpu, memory_bytes, choice), "", *advice])


def _found(gpu: GpuFacts, memory_bytes: int, choice: Choice) -> list[str]:
    verdict, cards = gpu["verdict"], usable_cards(gpu)
    use = "none that Ollama can use" if verdict["mode"] == CPU else f"usable by {verdict['mode']}"
    lines = [
        f"Memory: {_gib(memory_bytes)}; models may take {_gib(int(memory_bytes * _BOX_SHARE))} of it (70 %).",
        f"GPU: {use}: {verdict['reason']}.",
    ]
    if cards.bytes:
        of = f"all {cards.counted} together" if cards.counted > 1 else "its memory"
        lines.append(f"  Models may take {_gib(int(cards.bytes * _GPU_SHARE))} (90 % of {_gib(cards.bytes)}, {of}).")
    effect = "it is not counted" if cards.bytes else "the memory of the box decides"
    lines += [f"  {doubt}, so {effect}." for doubt in cards.doubts]
    if cards.bytes and not (choice.preset and choice.preset.for_gpu):
        least = _gib(preset_bytes(_FOR_GPU[0]))
        lines.append(
            f"  {_FOR_GPU[0].name} takes {least}, so the memory of the box decides. Ollama uses the GPU in part."
        )
    return lines


def _advice(preset: Preset, choice: Choice) -> list[str]:
    where = "GPU" if preset.for_gpu else "box"
    fits = "It is tight" if choice.tight else "It fits"
    lines = [
        f"Preset {preset.name}, by the memory of the {where}.",
        f"  {fits}: all its models together take {_gib(preset_bytes(preset))} of {_gib(choice.room_bytes)}.",
    ]
    width = max(len(model.name) for model in preset.models)
    for model in preset.models:
        download, memory = f"{model.bytes / _GB:4.1f} GB", _gib(model_bytes(model))
        lines.append(f"  {model.name:{width}}  {model.mode:9}  download {download}, memory {memory}")
    larger = None if preset.for_gpu else _largest(_FOR_GPU, choice.room_bytes)
    if larger:
        lines.append(f"  {larger.name} fits too ({_gib(preset_bytes(larger))}), but answers slowly without a GPU.")
    return [*lines, "", "Take it with:", f"  cp {preset.path} group_vars/all/models.yml", "  make check"]


def _instead(choice: Choice) -> list[str]:
    smallest = _FOR_BOX[0]
    lines = [f"No preset fits: the smallest, {smallest.name}, takes {_gib(preset_bytes(smallest))}."]
    need = model_bytes(SMALLEST_CHAT)
    if need <= choice.room_bytes:
        lines.append(
            f"Name a smaller model in group_vars/all/models.yml: {SMALLEST_CHAT.name} takes {_gib(need)} "
            f"(download {SMALLEST_CHAT.bytes / _GB:.1f} GB)."
        )
    return [*lines, "Hosted models take no memory here: docs/providers.md."]


def _largest(presets: Sequence[Preset], room_bytes: int) -> Preset | None:
    return next((preset for preset in reversed(presets) if preset_bytes(preset) <= room_bytes), None)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
