"""GPUs by NVIDIA: PCI cards, those that Windows lends to WSL2, and Jetson modules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .pci import no_driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..box.docker import Answer, Runner
    from .pci import PciDevice
    from .shapes import Gpu, Place
    from .tree import Tree

# Ollama's own floors (docs/gpu.mdx and discover/cuda_compat.go of Ollama 0.33).
LEAST_DRIVER = 550
LEAST_DRIVER_OLD_CARDS = 570
OLD_CARDS = ((5, 0), (6, 2))
LEAST_CAPABILITY = (5, 0)
LEAST_JETPACK = 5

SMI = (
    "nvidia-smi",
    "--format=csv,noheader,nounits",
    "--query-gpu=uuid,pci.bus_id,name,memory.total,compute_cap,driver_version",
)
WSL_SMI = "usr/lib/wsl/lib/nvidia-smi"
_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")
_NOT_FOUND = 127
_REMEDY = (
    "Install NVIDIA's driver with your system's package manager and restart the box; "
    "this project never installs kernel drivers"
)


def find_nvidia(tree: Tree, place: Place, devices: Sequence[PciDevice], run: Runner) -> list[Gpu]:
    """Return NVIDIA's GPUs.

    Args:
        tree: the box's files.
        place: where its system runs.
        devices: NVIDIA's devices on the PCI bus.
        run: runs nvidia-smi, which is part of the driver.
    """
    if place["wsl"]:
        return _wsl(tree, run)
    if place["jetpack"] is not None and not devices:
        return [_jetson(tree, place["jetpack"])]
    if not devices:
        return []
    version = kernel_module(tree)
    # Without its kernel module the command only fails, and slowly.
    answer = run(SMI) if version else None
    rows = smi_rows(answer.out) if answer and answer.code == 0 else []
    told = {_bus(row["address"]): row for row in rows if "address" in row}
    infos = _infos(tree)
    general = _no_nodes(tree, place) or (_refusal(answer) if answer else "")
    return [
        _card(device, version, {**infos.get(device.address, {}), **told.get(device.address, {})}, general)
        for device in devices
    ]


def kernel_module(tree: Tree) -> str:
    """Return the version of NVIDIA's kernel module that runs; empty when none does."""
    found = _VERSION.search(tree.text("proc/driver/nvidia/version"))
    return found[1] if found else ""


def smi_rows(output: str) -> list[dict[str, str]]:
    """Return what nvidia-smi says of each card, by our own names; what it does not know it writes in brackets."""
    names = ("uuid", "address", "name", "memory_mib", "compute_capability", "driver_version")
    rows = []
    for line in output.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == len(names):
            rows.append({name: field for name, field in zip(names, fields) if not field.startswith("[")})
    return rows


def too_old(driver: str, capability: str) -> str:
    """Return why Ollama refuses a driver for a card; empty when it does not. An unknown capability refuses nothing."""
    compute = _numbers(capability)
    if compute and compute < LEAST_CAPABILITY:
        return f"its compute capability {capability} is below 5.0, which Ollama no longer supports"
    old_card = bool(compute) and OLD_CARDS[0] <= compute <= OLD_CARDS[1]
    least = LEAST_DRIVER_OLD_CARDS if old_card else LEAST_DRIVER
    if _numbers(driver)[:1] >= (least,):
        return ""
    of = f" for compute capability {capability}" if old_card else ""
    return f"its driver {driver} is too old{of}: Ollama needs {least} or newer. {_REMEDY}"


def _refusal(answer: Answer) -> str:
    """Why the driver's own command fails; empty when it does not, or is not there."""
    if answer.code in (0, _NOT_FOUND):
        return ""
    said = (answer.out.strip() or answer.err.strip() or f"status {answer.code}").splitlines()[0]
    return f"nvidia-smi fails: {said}. After an update of the driver restart the box; else look into dmesg"


def _card(device: PciDevice, version: str, told: dict[str, str], general: str) -> Gpu:
    capability = told.get("compute_capability", "")
    problem = no_driver(device, "nvidia")
    if problem and device.driver not in ("vfio-pci", "pci-stub"):
        problem += f". {_REMEDY}"
    if not problem and not version:
        problem = "its kernel module does not run, though it holds the card. Restart the box, or look into dmesg"
    return _gpu(
        name=told.get("name", "") or f"NVIDIA device {device.device:04x}",
        address=device.address,
        uuid=told.get("uuid", ""),
        driver=device.driver,
        driver_version=version if device.driver == "nvidia" else "",
        memory_bytes=_mebibytes(told.get("memory_mib", "")),
        compute_capability=capability,
        problem=problem or general or too_old(version, capability),
    )


def _no_nodes(tree: Tree, place: Place) -> str:
    if tree.exists("dev/nvidiactl") and tree.exists("dev/nvidia0"):
        return ""
    if place["container"]:
        return (
            f"its device nodes are not passed to this container ({place['container']}). Pass /dev/nvidia* on its host"
        )
    return "its device nodes are missing. Run nvidia-modprobe -c 0 -u as root, which also tells what is wrong"


def _infos(tree: Tree) -> dict[str, dict[str, str]]:
    """What the kernel module tells of its cards, by address."""
    found = {}
    for address in tree.names("proc/driver/nvidia/gpus"):
        text = tree.text(f"proc/driver/nvidia/gpus/{address}/information")
        pairs = (line.partition(":") for line in text.splitlines())
        lines = {key.strip(): value.strip() for key, _, value in pairs}
        info = {"name": lines.get("Model", ""), "uuid": lines.get("GPU UUID", "")}
        found[address] = {key: value for key, value in info.items() if value and "?" not in value}
    return found


def _wsl(tree: Tree, run: Runner) -> list[Gpu]:
    if not tree.exists(WSL_SMI):
        return []
    answer = run((f"/{WSL_SMI}", *SMI[1:]))
    problem = _refusal(answer)
    if not tree.exists("dev/dxg"):
        problem = "Windows lends it to no Linux (/dev/dxg is missing). Run wsl --update on Windows"
    found = []
    for row in (smi_rows(answer.out) if answer.code == 0 else []) or [{}]:
        driver, capability = row.get("driver_version", ""), row.get("compute_capability", "")
        found.append(
            _gpu(
                name=row.get("name", "") or "a GPU of the Windows host",
                uuid=row.get("uuid", ""),
                driver="wsl",
                driver_version=driver,
                memory_bytes=_mebibytes(row.get("memory_mib", "")),
                compute_capability=capability,
                problem=problem or (too_old(driver, capability) if driver else ""),
            )
        )
    return found


def _jetson(tree: Tree, jetpack: int) -> Gpu:
    problem = ""
    if not jetpack:
        problem = "this Jetson does not run NVIDIA's Jetson Linux, which has its driver"
    elif jetpack < LEAST_JETPACK:
        problem = f"JetPack {jetpack} is too old: Ollama needs JetPack {LEAST_JETPACK} or newer"
    elif not tree.exists("dev/nvmap"):
        problem = "its device node /dev/nvmap is missing"
    gpu = _gpu(
        name=tree.text("proc/device-tree/model") or "NVIDIA Jetson",
        driver="nvgpu",
        driver_version=f"JetPack {jetpack}" if jetpack else "",
        problem=problem,
    )
    gpu["integrated"] = True
    return gpu


def _gpu(
    name: str,
    driver: str,
    driver_version: str,
    problem: str,
    address: str = "",
    uuid: str = "",
    memory_bytes: int | None = None,
    compute_capability: str = "",
) -> Gpu:
    return {
        "vendor": "nvidia",
        "name": name,
        "address": address,
        "uuid": uuid,
        "driver": driver,
        "driver_version": driver_version,
        "memory_bytes": memory_bytes,
        "integrated": False,
        "gfx_target": "",
        "compute_capability": compute_capability,
        "nodes": [],
        "libraries": [] if problem else ["cuda"],
        "problem": problem,
    }


def _bus(address: str) -> str:
    """Return an address as sysfs writes it: nvidia-smi gives the domain eight digits, and writes capitals."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _mebibytes(text: str) -> int | None:
    return int(text) * 1024**2 if text.isdigit() else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
