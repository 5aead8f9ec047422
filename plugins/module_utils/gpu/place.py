"""Where a system runs: on hardware, in a container or virtual machine, under Windows, on a Jetson."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .shapes import Place
    from .tree import Tree

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_HYPERVISORS = re.compile(
    r"QEMU|VMware|VirtualBox|innotek|Xen|Microsoft Corporation|KVM|Bochs|Parallels", re.IGNORECASE
)
# Jetson Linux by JetPack (https://developer.nvidia.com/embedded/jetson-linux-archive).
_JETPACKS = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}


def read_place(tree: Tree) -> Place:
    """Return where the system runs."""
    machine = tree.text("proc/sys/kernel/arch") or platform.machine()
    release = tree.text("proc/sys/kernel/osrelease").lower()
    wsl = tree.exists("dev/dxg") or "microsoft" in release
    return {
        "arch": _ARCHITECTURES.get(machine, machine),
        "container": _container(tree),
        "virtual_machine": not wsl and bool(_HYPERVISORS.search(tree.text("sys/class/dmi/id/sys_vendor"))),
        "wsl": wsl,
        "jetpack": _jetpack(tree),
    }


def _container(tree: Tree) -> str:
    # systemd writes what its manager told it (https://systemd.io/CONTAINER_INTERFACE).
    told = tree.text("run/systemd/container")
    if told:
        return told
    if tree.exists(".dockerenv"):
        return "docker"
    return "podman" if tree.exists("run/.containerenv") else ""


def _jetpack(tree: Tree) -> int | None:
    found = re.search(r"R(\d+)", tree.text("etc/nv_tegra_release"))
    if found:
        return _JETPACKS.get(int(found[1]), max(_JETPACKS.values()) if int(found[1]) > max(_JETPACKS) else None)
    # Without that file it is a Jetson with a system that NVIDIA did not make.
    return 0 if "jetson" in tree.text("proc/device-tree/model").lower() else None
