"""Whether the models that a box will serve fit into its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from ..gpu.container import gpu_container
from ..gpu.report import gpu_line
from ..ollama.memory import Shape, needed_bytes, parse_size
from ..ollama.names import InvalidName, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .shapes import BoxFacts, ModelsFacts

FITS, TIGHT, SPILLS, TOO_LARGE, UNKNOWN = "fits", "tight", "spills", "too large", "unknown"
# The rest of the memory is for the system, its cache of the disk and the gateway itself.
_COMFORTABLE_SHARE = 0.7
_POSSIBLE_SHARE = 0.85
# Of a GPU's own memory, which other programs rarely use.
_COMFORTABLE_GPU_SHARE = 0.9
# Ollama leaves this free on each GPU (ml/device.go).
_GPU_MARGIN_BYTES = 457 * 1024**2
_GIB = 1024**3
_GATEWAY_FILE = "group_vars/all/gateway.yml"
_RAM, _VRAM = "memory", "the GPU's memory"
_TIGHT = {_RAM: "the box may have to swap", _VRAM: "another program on the GPU may push it to the CPU"}


class Serving(TypedDict):
    """How the box will serve models."""

    models: Sequence[Mapping[str, Any]]  # name, from, context (tokens, None for the server's own) and resident
    context: int  # tokens of the models that declare none
    parallel: int
    memory_limit: str  # of Ollama's container, as Compose writes it
    cache_type: str  # of keys and values, as ollama/memory.py knows it
    gpu_devices: Sequence[str]  # the GPUs to use, all when empty
    allow_overcommit: bool


class Room(NamedTuple):
    """Memory for models, in bytes."""

    comfortable: int  # leaves air beside it
    possible: int  # all that can be had where models should run
    spilled: int  # with the box's memory, where a part may run on the CPU
    kind: str  # memory, or the GPU's memory, for the user to read


class Need(NamedTuple):
    """What one served model takes; ``needed`` is None where its size is not known."""

    name: str
    context: int
    resident: bool
    missing: int
    needed: int | None
    fit: str


def memory_lines(facts: BoxFacts, serving: Serving) -> list[str]:
    """Return where models run, a line for each that the box will serve, and what the disk has for downloads.

    The line of a model tells its download, its memory, and whether that fits.
    """
    try:
        room = _room(facts, serving)
    except ValueError:
        # Told by memory_problems.
        return []
    lines = [_line(need, room) for need in _needs(facts, serving, room)]
    if not lines:
        return []
    where = [gpu_line(facts["gpu"], serving["gpu_devices"])] if facts["gpu"] else []
    return [*where, *lines, *_disk_lines(facts["models"])]


def _disk_lines(models: ModelsFacts) -> list[str]:
    directory, missing = models["directory"], models["missing_bytes"]
    if directory is None or not missing:
        return []
    return [f"disk: {_gib(missing)} to download, {_gib(directory['free_bytes'])} free at {directory['path']}"]


def memory_problems(facts: BoxFacts, serving: Serving) -> list[str]:
    """Return what keeps the models that shall stay in memory from staying there together."""
    if not serving["models"]:
        return []
    try:
        room = _room(facts, serving)
    except ValueError as error:
        return [f"ollama_memory_limit ({_GATEWAY_FILE}): {error}"]
    resident = [need for need in _needs(facts, serving, room) if need.resident and need.needed is not None]
    together = sum(need.needed or 0 for need in resident)
    if not resident or together <= room.possible or serving["allow_overcommit"]:
        return []
    sizes = ", ".join(f"{need.name} {_gib(need.needed or 0)}" for need in resident)
    problem = (
        f"The models that shall stay in memory need {_gib(together)} together ({sizes}), but at most "
        f"{_gib(room.possible)} of {room.kind} are there for them. Take resident: true from one of them, give it "
        f"a shorter context or a smaller model (group_vars/all/models.yml), or set llm_allow_overcommit: true "
        f"({_GATEWAY_FILE}) to try it all the same."
    )
    return [problem]


def _room(facts: BoxFacts, serving: Serving) -> Room:
    memory = facts["memory_bytes"]
    # Docker reads 0 as no limit.
    limit = parse_size(str(serving["memory_limit"])) or memory
    comfortable, possible = (min(limit, int(memory * share)) for share in (_COMFORTABLE_SHARE, _POSSIBLE_SHARE))
    gpu = gpu_container(facts["gpu"], serving["gpu_devices"]) if facts["gpu"] else None
    if gpu is None or gpu["memory_bytes"] is None:
        return Room(comfortable, possible, possible, _RAM)
    own = gpu["memory_bytes"]
    comfortable_own, possible_own = int(own * _COMFORTABLE_GPU_SHARE), own - len(gpu["gpus"]) * _GPU_MARGIN_BYTES
    if gpu["shares_memory"]:
        return Room(min(comfortable, comfortable_own), possible, possible, _RAM)
    return Room(min(comfortable_own, possible_own), possible_own, possible_own + comfortable, _VRAM)


def _needs(facts: BoxFacts, serving: Serving, room: Room) -> list[Need]:
    known = {_key(model["name"]): model for model in facts["models"]["items"]}
    counted: set[str] = set()
    needs = []
    for entry in serving["models"]:
        key = _key(str(entry["from"]))
        model = known.get(key)
        context = int(entry["context"] or serving["context"])
        shape = facts["shapes"].get(model["name"]) if model else None
        needed = (
            needed_bytes(
                model["bytes"], context, serving["parallel"], Shape(**shape) if shape else None, serving["cache_type"]
            )
            if model and model["bytes"]
            else None
        )
        missing = model["missing_bytes"] if model and key not in counted else 0
        counted.add(key)
        needs.append(Need(str(entry["name"]), context, bool(entry["resident"]), missing, needed, _fit(needed, room)))
    return needs


def _fit(needed: int | None, room: Room) -> str:
    if needed is None:
        return UNKNOWN
    if needed <= room.comfortable:
        return FITS
    if needed <= room.possible:
        return TIGHT
    return SPILLS if needed <= room.spilled else TOO_LARGE


def _line(need: Need, room: Room) -> str:
    if need.needed is None:
        return f"{need.name}: its size is not known, nor whether it fits"
    download = f"download {_gib(need.missing)}, " if need.missing else ""
    advice = {
        FITS: "fits",
        TIGHT: f"tight: {_TIGHT[room.kind]}, and no other model fits beside it",
        SPILLS: "a part of it will spill to the CPU, which slows it down. Choose a smaller model or a shorter context",
        TOO_LARGE: "too large: it will not load, or only crawl. Choose a smaller model or a shorter context",
    }
    share = f"{need.needed / _GIB:.1f} of {_gib(room.comfortable)}"
    return f"{need.name}: {download}{room.kind} about {share} at {need.context} tokens: {advice[need.fit]}"


def _key(name: str) -> str:
    try:
        return parse(name).key
    except InvalidName:
        # Reported by itself, as a problem.
        return name


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
