"""GPUs by AMD and Intel, which the kernel's own drivers make known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pci import no_driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pci import PciDevice
    from .shapes import Gpu, Place
    from .tree import Tree

# What Ollama's image for ROCm is built for (llama/server/CMakePresets.json of Ollama 0.33, preset rocm_v7_2_linux).
ROCM_TARGETS = frozenset(
    f"gfx{target}" for target in (908, "90a", 942, 950, 1030, 1100, 1101, 1102, 1150, 1151, 1200, 1201)
)
# Integrated GPUs that Ollama uses by ROCm (discover/runner.go of Ollama 0.33); it drops all others.
ROCM_INTEGRATED = frozenset({"gfx1151"})
_KFD_NODES = "sys/class/kfd/kfd/topology/nodes"
_GIB = 1024**3


def find_amd(tree: Tree, place: Place, devices: Sequence[PciDevice]) -> list[Gpu]:
    """Return AMD's GPUs among the devices of the PCI bus."""
    targets = gfx_targets(tree)
    return [_amd(tree, place, device, targets.get(device.render_node, "")) for device in devices]


def find_intel(tree: Tree, place: Place, devices: Sequence[PciDevice]) -> list[Gpu]:
    """Return Intel's GPUs among the devices of the PCI bus."""
    return [
        _gpu(
            tree,
            place,
            device,
            drivers="i915 or xe",
            name=f"Intel device {device.device:04x}",
            # Intel's own place for the GPU of its processors.
            integrated=device.address == "0000:00:02.0",
        )
        for device in devices
    ]


def gfx_targets(tree: Tree) -> dict[str, str]:
    """Return AMD's names of the instruction sets by the render node, as the kernel's compute driver knows them.

    The number in ``gfx_target_version`` is 10000 times the major, 100 times the minor version and the stepping; the
    last two are hexadecimal digits in the name (discover/amd.go of Ollama).
    """
    found = {}
    for node in tree.names(_KFD_NODES):
        lines = (line.split() for line in tree.text(f"{_KFD_NODES}/{node}/properties").splitlines())
        values = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
        version, minor = values.get("gfx_target_version", 0), values.get("drm_render_minor", 0)
        # The processor is a node as well, without these.
        if version and minor:
            found[f"/dev/dri/renderD{minor}"] = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return found


def _amd(tree: Tree, place: Place, device: PciDevice, target: str) -> Gpu:
    folder = f"sys/bus/pci/devices/{device.address}"
    own, shared = tree.number(f"{folder}/mem_info_vram_total"), tree.number(f"{folder}/mem_info_gtt_total")
    discrete = tree.exists(f"{folder}/board_info") or tree.exists(f"{folder}/mem_info_vram_vendor")
    # Ollama's own test (discover/amd.go).
    integrated = (
        not discrete and own is not None and shared is not None and own <= 4 * _GIB and shared >= max(8 * _GIB, 4 * own)
    )
    gpu = _gpu(tree, place, device, drivers="amdgpu", name=f"AMD device {device.device:04x}", integrated=integrated)
    gpu["driver_version"] = tree.text("sys/module/amdgpu/version")
    gpu["gfx_target"] = target
    gpu["memory_bytes"] = shared if integrated else own
    by_rocm = target in (ROCM_TARGETS & ROCM_INTEGRATED if integrated else ROCM_TARGETS)
    if not gpu["problem"] and by_rocm and place["arch"] == "amd64" and tree.exists("dev/kfd"):
        gpu["libraries"].insert(0, "rocm")
    return gpu


def _gpu(tree: Tree, place: Place, device: PciDevice, *, drivers: str, name: str, integrated: bool) -> Gpu:
    problem = no_driver(device, drivers)
    there = bool(device.render_node) and tree.exists(device.render_node.lstrip("/"))
    if not problem and not there:
        where = f"this container ({place['container']})" if place["container"] else "this system"
        problem = f"its device node {device.render_node or '/dev/dri/renderD*'} is missing in {where}"
    if not problem and place["arch"] != "amd64":
        problem = f"Ollama's image for {place['arch']} has neither Vulkan nor ROCm"
    return {
        "vendor": device.vendor,
        "name": name,
        "address": device.address,
        "uuid": "",
        "driver": device.driver,
        "driver_version": "",
        "memory_bytes": None,
        "integrated": integrated,
        "gfx_target": "",
        "compute_capability": "",
        "nodes": [device.render_node] if there else [],
        "libraries": [] if problem else ["vulkan"],
        "problem": problem,
    }
