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
    from .shapes import Gpu, GpuFacts
    from .tree import Tree


def without_cuda(facts: GpuFacts, why: str, wish: str) -> GpuFacts:
    """Return the facts of a box whose containers cannot get NVIDIA's GPUs, for the reason that is given."""
    gpus = [_without_cuda(gpu, why) if "cuda" in gpu["libraries"] else gpu for gpu in facts["gpus"]]
    return {**facts, "gpus": gpus, "verdict": decide(gpus, facts["place"], wish)}


def _without_cuda(gpu: Gpu, why: str) -> Gpu:
    return {**gpu, "libraries": [name for name in gpu["libraries"] if name != "cuda"], "problem": why}


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
