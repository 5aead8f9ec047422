"""Where Ollama should run, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .shapes import Gpu, Place, Verdict

AUTO, NVIDIA, ROCM, VULKAN, CPU, REQUIRED = "auto", "nvidia", "rocm", "vulkan", "cpu", "required"
# What the verdict may be.
RUNS_ON = (NVIDIA, ROCM, VULKAN, CPU)
# What may be asked for; required is auto that does not settle for the CPU.
MODES = (AUTO, NVIDIA, ROCM, VULKAN, CPU, REQUIRED)
_LIBRARIES = {NVIDIA: "cuda", ROCM: "rocm", VULKAN: "vulkan"}


def decide(gpus: Sequence[Gpu], place: Place, wish: str = AUTO) -> Verdict:
    """Return where Ollama should run.

    Args:
        gpus: the GPUs of the box.
        place: where its system runs.
        wish: ``auto``, ``required`` (the same, with a problem where only the CPU is left), or the mode that is wanted
            whatever is there.
    """
    if wish == CPU:
        return {"mode": CPU, "reason": "the CPU was asked for", "problem": "", "used": []}
    if wish not in (AUTO, REQUIRED):
        used = _used(gpus, wish)
        problem = "" if used else f"no GPU here can be used by {wish}: {_told(gpus, place)}"
        reason = f"{wish} was asked for" + (f": {_names(used)}" if used else "")
        return {"mode": wish, "reason": reason, "problem": problem, "used": _places(gpus, used)}
    for mode in (NVIDIA, ROCM, VULKAN):
        # Slow on Intel's integrated GPUs (ollama/ollama#13130), so Vulkan on Intel is by choice.
        used = _used([gpu for gpu in gpus if gpu["vendor"] != "intel"], mode)
        if used:
            left = [gpu for gpu in gpus if gpu not in used]
            beside = f"; not used: {_told(left, place)}" if left else ""
            return {"mode": mode, "reason": f"{_names(used)}{beside}", "problem": "", "used": _places(gpus, used)}
    told = _told(gpus, place)
    problem = f"a GPU is required, and none here can be used unasked: {told}" if wish == REQUIRED else ""
    return {"mode": CPU, "reason": told, "problem": problem, "used": []}


def _used(gpus: Iterable[Gpu], mode: str) -> list[Gpu]:
    """Return the GPUs to use in a mode. Beside a card, a processor's own GPU would only slow it down."""
    able = able_gpus(gpus, mode)
    return [gpu for gpu in able if not gpu["integrated"]] or able


def _places(gpus: Sequence[Gpu], used: Sequence[Gpu]) -> list[int]:
    return [place for place, gpu in enumerate(gpus) if gpu in used]


def able_gpus(gpus: Iterable[Gpu], mode: str) -> list[Gpu]:
    """Return the GPUs that Ollama can use in a mode; none for ``cpu``."""
    return [gpu for gpu in gpus if _LIBRARIES.get(mode) in gpu["libraries"]]


def _names(gpus: Iterable[Gpu]) -> str:
    return ", ".join(_name(gpu) for gpu in gpus)


def _name(gpu: Gpu) -> str:
    memory = f", {gpu['memory_bytes'] / 1024**3:.0f} GiB" if gpu["memory_bytes"] else ""
    target = f", {gpu['gfx_target']}" if gpu["gfx_target"] else ""
    return f"{gpu['name']}{target}{memory}"


def _told(gpus: Sequence[Gpu], place: Place) -> str:
    if gpus:
        return "; ".join(f"{_name(gpu)}: {gpu['problem'] or _choice(gpu)}" for gpu in gpus)
    if place["container"]:
        return f"no GPU is passed to this container ({place['container']})"
    if place["wsl"]:
        return "Windows lends no NVIDIA GPU to this system"
    return (
        "no GPU is passed to this virtual machine"
        if place["virtual_machine"]
        else "there is no GPU by NVIDIA, AMD or Intel"
    )


def _choice(gpu: Gpu) -> str:
    return f"it works with {' and '.join(gpu['libraries'])}" + (
        ", by choice (vulkan)" if gpu["vendor"] == "intel" else ""
    )
