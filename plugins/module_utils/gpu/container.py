"""What Ollama's container gets of the box's GPUs: an image, device nodes, groups and environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from .verdict import CPU, NVIDIA, ROCM, VULKAN, able_gpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .shapes import Gpu, GpuFacts

# By CDI a container keeps its GPUs over a `systemctl daemon-reload`, which takes them away from one that got them from
# NVIDIA's hook (NVIDIA Container Toolkit, troubleshooting).
_CDI_KIND = "nvidia.com/gpu"
_COMPUTE_NODE = "/dev/kfd"


class GpuContainer(TypedDict):
    """What is particular to Ollama's container because of the GPUs."""

    mode: str  # nvidia, rocm, vulkan or cpu
    image: str  # of the images that are declared: ollama, or ollama_rocm
    gpus: list[str]  # what is used, for the user to read
    memory_bytes: int | None  # of those GPUs together; None where it is not known, and on the CPU
    shares_memory: bool  # it is the memory of the box itself
    cdi_devices: list[str]  # NVIDIA's names for what the container gets
    driver_version: str  # NVIDIA's; empty where it is not known
    options: dict[str, Any]  # keys of a Compose service
    environment: dict[str, str]


def gpu_container(facts: GpuFacts, chosen: Sequence[str] = ()) -> GpuContainer:
    """Return what the container gets.

    Args:
        facts: the GPUs of the box and the verdict.
        chosen: UUIDs (NVIDIA) or PCI addresses of the GPUs to use; those of the verdict when empty.
    """
    mode = facts["verdict"]["mode"]
    if chosen:
        gpus = [gpu for gpu in able_gpus(facts["gpus"], mode) if _is_chosen(gpu, chosen)]
    else:
        gpus = [facts["gpus"][place] for place in facts["verdict"]["used"]]
    if mode == CPU or not gpus:
        return {
            "mode": CPU,
            "image": "ollama",
            "gpus": [],
            "memory_bytes": None,
            "shares_memory": False,
            "cdi_devices": [],
            "driver_version": "",
            "options": {},
            "environment": {},
        }
    memory = [gpu["memory_bytes"] for gpu in gpus]
    environment: dict[str, str] = {}
    jetpack = facts["place"]["jetpack"]
    if mode == NVIDIA and jetpack in (5, 6):
        # The image holds libraries for both, and cannot see which system it runs on.
        environment["JETSON_JETPACK"] = str(jetpack)
    if mode == VULKAN and any(gpu["integrated"] for gpu in gpus):
        environment["OLLAMA_IGPU_ENABLE"] = "1"
    cdi_devices = []
    if mode == NVIDIA:
        cdi_devices = [f"{_CDI_KIND}={gpu['uuid']}" for gpu in gpus] if chosen else [f"{_CDI_KIND}=all"]
    return {
        "mode": mode,
        "image": "ollama_rocm" if mode == ROCM else "ollama",
        "gpus": [gpu["name"] for gpu in gpus],
        "memory_bytes": None if None in memory else sum(size or 0 for size in memory),
        "shares_memory": all(gpu["integrated"] for gpu in gpus),
        "cdi_devices": cdi_devices,
        "driver_version": gpus[0]["driver_version"] if mode == NVIDIA else "",
        "options": _cdi_options(cdi_devices) if mode == NVIDIA else _node_options(facts, gpus, mode),
        "environment": environment,
    }


def choice_problems(facts: GpuFacts, chosen: Sequence[str]) -> list[str]:
    """Return what is wrong with the chosen GPUs: not there, or nothing can use them."""
    mode = facts["verdict"]["mode"]
    able = able_gpus(facts["gpus"], mode)
    problems = []
    for wish in chosen:
        if any(_is_chosen(gpu, [wish]) for gpu in able):
            continue
        known = next((gpu for gpu in facts["gpus"] if _is_chosen(gpu, [wish])), None)
        names = ", ".join(f"{gpu['uuid'] or gpu['address']} ({gpu['name']})" for gpu in able) or "none"
        why = f"cannot be used by {mode}{f': {_reason(known)}' if _reason(known) else ''}" if known else "is not there"
        problems.append(f"llm_gpu_devices: the GPU {wish} {why}. Those that can be used: {names}.")
    return problems


def _is_chosen(gpu: Gpu, chosen: Sequence[str]) -> bool:
    names = (gpu["uuid"].lower(), _short_address(gpu["address"]))
    return any(wish.lower() in names or _short_address(wish) in names for wish in chosen if wish)


def _short_address(address: str) -> str:
    """Return a PCI address with the four digits of a domain that the kernel writes; nvidia-smi writes eight."""
    domain, colon, rest = address.lower().partition(":")
    return f"{domain[-4:]}{colon}{rest}"


def _reason(gpu: Gpu | None) -> str:
    return gpu["problem"] if gpu else ""


def _cdi_options(devices: Sequence[str]) -> dict[str, Any]:
    # Every Compose v2 reads this; the short form under `devices` needs 2.30, and Debian 13 has 2.26.
    reservation = {"driver": "cdi", "device_ids": list(devices), "capabilities": []}
    return {"deploy": {"resources": {"reservations": {"devices": [reservation]}}}} if devices else {}


def _node_options(facts: GpuFacts, gpus: Sequence[Gpu], mode: str) -> dict[str, Any]:
    nodes = [node for gpu in gpus for node in gpu["nodes"]]
    return {
        "devices": [_COMPUTE_NODE, *nodes] if mode == ROCM else nodes,
        # By number: the image knows other names, and the number of `render` is another one on each box.
        "group_add": [str(group) for group in facts["groups"]],
    }
