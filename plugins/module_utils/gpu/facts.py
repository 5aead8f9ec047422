"""All of it together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dri import find_amd, find_intel
from .nvidia import find_nvidia
from .pci import display_devices
from .place import read_place
from .verdict import AUTO, decide

if TYPE_CHECKING:
    from ..box.docker import Runner
    from .shapes import GpuFacts
    from .tree import Tree


def gpu_facts(tree: Tree, run: Runner, wish: str = AUTO) -> GpuFacts:
    """Return the GPUs of a box and where Ollama should run.

    Args:
        tree: the box's files.
        run: runs a command on the box.
        wish: one of `verdict.MODES`.
    """
    place, devices = read_place(tree), display_devices(tree)
    nvidia, amd, intel = (
        [device for device in devices if device.vendor == vendor] for vendor in ("nvidia", "amd", "intel")
    )
    gpus = [
        *find_nvidia(tree, place, nvidia, run),
        *find_amd(tree, place, amd),
        *find_intel(tree, place, intel),
    ]
    nodes = {node.lstrip("/") for gpu in gpus for node in gpu["nodes"]} | {"dev/kfd"}
    groups = {group for node in nodes if (group := tree.group(node)) is not None}
    return {"place": place, "gpus": gpus, "groups": sorted(groups), "verdict": decide(gpus, place, wish)}
