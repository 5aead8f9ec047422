"""Boxes with GPUs, as their kernels tell of them: put together from vendors' documentation, none of them recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plugins.module_utils.gpu.facts import gpu_facts
from plugins.module_utils.gpu.tree import Tree
from plugins.modules.gpu_facts import runner

if TYPE_CHECKING:
    from pathlib import Path

    from plugins.module_utils.gpu.shapes import GpuFacts

GIB = 1024**3


@dataclass
class Host:
    """What lies below a root: texts of files by path, targets of links, and device nodes, for which a file stands."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()

    def __add__(self, other: Host) -> Host:
        """Put two together."""
        return Host(self.files | other.files, self.links | other.links, self.nodes + other.nodes)

    def write(self, root: Path) -> Path:
        """Write it below a root, which is returned."""
        for path, text in (self.files | dict.fromkeys(self.nodes, "")).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        for path, target in self.links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        return root


def system(arch: str = "x86_64", release: str = "6.12.43", **files: str) -> Host:
    """What every system has; the other files by a name in which two underscores stand for a slash."""
    more = {path.replace("__", "/"): text for path, text in files.items()}
    return Host({"proc/sys/kernel/arch": f"{arch}\n", "proc/sys/kernel/osrelease": f"{release}\n", **more})


def pci(address: str, vendor: str, device: str, driver: str = "", kind: str = "0x030000") -> Host:
    """A device on the PCI bus."""
    folder = f"sys/bus/pci/devices/{address}"
    files = {f"{folder}/vendor": f"{vendor}\n", f"{folder}/device": f"{device}\n", f"{folder}/class": f"{kind}\n"}
    return Host(files, {f"{folder}/driver": f"../../../../bus/pci/drivers/{driver}"} if driver else {})


def render(number: int, address: str, *, node: bool = True) -> Host:
    """The render node of a device."""
    name = f"renderD{number}"
    links = {f"sys/class/drm/{name}/device": f"../../../{address}"}
    return Host(links=links, nodes=(f"dev/dri/{name}",) if node else ())


def nvidia_module(version: str, address: str = "", model: str = "", uuid: str = "", *, nodes: bool = True) -> Host:
    """NVIDIA's kernel module that runs."""
    text = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\nGCC version: x\n"
    files = {"proc/driver/nvidia/version": text}
    if address:
        files[f"proc/driver/nvidia/gpus/{address}/information"] = (
            f"Model: \t\t {model}\nIRQ:   \t\t 131\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n"
        )
    return Host(files, nodes=("dev/nvidiactl", "dev/nvidia0", "dev/nvidia-uvm") if nodes else ())


def smi(*rows: str) -> Host:
    """What nvidia-smi says."""
    return Host({"nvidia-smi.csv": "\n".join(rows) + "\n"})


def kfd(minor: int, target: int) -> Host:
    """AMD's compute driver with a processor and a GPU."""
    folder = "sys/class/kfd/kfd/topology/nodes"
    gpu = f"cpu_cores_count 0\nsimd_count 192\nvendor_id 4098\ndrm_render_minor {minor}\ngfx_target_version {target}\n"
    processor = "cpu_cores_count 16\nsimd_count 0\nvendor_id 0\ndrm_render_minor 0\ngfx_target_version 0\n"
    return Host({f"{folder}/0/properties": processor, f"{folder}/1/properties": gpu}, nodes=("dev/kfd",))


def amd_memory(address: str, own: int, shared: int, *, discrete: bool) -> Host:
    """What amdgpu tells of the memory, in bytes."""
    folder = f"sys/bus/pci/devices/{address}"
    files = {f"{folder}/mem_info_vram_total": f"{own}\n", f"{folder}/mem_info_gtt_total": f"{shared}\n"}
    return Host(files | ({f"{folder}/mem_info_vram_vendor": "samsung\n"} if discrete else {}))


FIRST, SECOND = "0000:01:00.0", "0000:02:00.0"
UUID, OTHER_UUID = "GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-aaaaaaaaaaaa"
RTX_3060 = pci(FIRST, "0x10de", "0x2504", "nvidia")
SMI_3060 = f"{UUID}, 00000000:01:00.0, NVIDIA GeForce RTX 3060, 12288, 8.6, 580.95.05"
RX_7900 = (
    pci(FIRST, "0x1002", "0x744c", "amdgpu")
    + render(128, FIRST)
    + amd_memory(FIRST, 24 * GIB, 32 * GIB, discrete=True)
    + kfd(128, 110000)
)
QEMU = {"sys__class__dmi__id__sys_vendor": "QEMU\n"}
LXC = {"run__systemd__container": "lxc\n"}
WSL_RELEASE = "6.6.87.2-microsoft-standard-WSL2"

HOSTS: dict[str, Host] = {
    "no GPU": system(),
    "virtual machine with a display of its own": system(**QEMU) + pci("0000:00:01.0", "0x1234", "0x1111", "bochs-drm"),
    "server with ASPEED's display": system() + pci("0000:03:00.0", "0x1a03", "0x2000", "ast"),
    "NVIDIA, ready": system()
    + RTX_3060
    + nvidia_module("580.95.05", FIRST, "NVIDIA GeForce RTX 3060", UUID)
    + smi(SMI_3060),
    "NVIDIA, without nvidia-smi": system()
    + RTX_3060
    + nvidia_module("580.95.05", FIRST, "NVIDIA GeForce RTX 3060", UUID),
    "NVIDIA, two cards": system()
    + RTX_3060
    + pci(SECOND, "0x10de", "0x2684", "nvidia")
    + nvidia_module("580.95.05")
    + smi(SMI_3060, f"{OTHER_UUID}, 00000000:02:00.0, NVIDIA GeForce RTX 4090, 24564, 8.9, 580.95.05"),
    "NVIDIA, driver too old": system() + RTX_3060 + nvidia_module("535.247.01"),
    "NVIDIA, driver too old for an old card": system()
    + pci(FIRST, "0x10de", "0x1b80", "nvidia")
    + nvidia_module("550.163.01")
    + smi(f"{UUID}, 00000000:01:00.0, NVIDIA GeForce GTX 1080, 8192, 6.1, 550.163.01"),
    "NVIDIA, card too old": system()
    + pci(FIRST, "0x10de", "0x1180", "nvidia")
    + nvidia_module("570.00")
    + smi(f"{UUID}, 00000000:01:00.0, NVIDIA GeForce GTX 680, 2048, 3.0, 570.00"),
    "NVIDIA, held by nouveau": system() + pci(FIRST, "0x10de", "0x2504", "nouveau") + render(128, FIRST),
    "NVIDIA, no driver": system() + pci(FIRST, "0x10de", "0x2504"),
    "NVIDIA, set aside for a virtual machine": system() + pci(FIRST, "0x10de", "0x2504", "vfio-pci"),
    "NVIDIA, driver just updated": system()
    + RTX_3060
    + nvidia_module("580.95.05")
    + Host({"nvidia-smi.err": "Failed to initialize NVML: Driver/library version mismatch\n"}),
    "NVIDIA, device nodes missing": system() + RTX_3060 + nvidia_module("580.95.05", nodes=False),
    "NVIDIA, LXC without its nodes": system(**LXC) + RTX_3060 + nvidia_module("580.95.05", nodes=False),
    "NVIDIA, a data centre card": system()
    + pci("0000:05:00.0", "0x10de", "0x2335", "nvidia", kind="0x030200")
    + nvidia_module("580.95.05")
    + smi(f"{UUID}, 00000000:05:00.0, NVIDIA H200, 143771, 9.0, 580.95.05"),
    "NVIDIA, GB10 on arm64": system("aarch64")
    + pci("000f:01:00.0", "0x10de", "0x2e12", "nvidia", kind="0x030200")
    + nvidia_module("580.95.05")
    + smi(f"{UUID}, 0000000F:01:00.0, NVIDIA GB10, [N/A], 12.1, 580.95.05"),
    "WSL2 with NVIDIA": system(release=WSL_RELEASE)
    + Host({"usr/lib/wsl/lib/nvidia-smi": ""}, nodes=("dev/dxg",))
    + smi(f"{UUID}, 00000000:01:00.0, NVIDIA GeForce RTX 4070, 12282, 8.9, 581.29"),
    "WSL2 without NVIDIA": system(release=WSL_RELEASE) + Host(nodes=("dev/dxg",)),
    "Jetson Orin, JetPack 6": system(
        "aarch64", etc__nv_tegra_release="# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n"
    )
    + Host({"proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0"}, nodes=("dev/nvmap",)),
    "Jetson Nano, JetPack 4": system("aarch64", etc__nv_tegra_release="# R32 (release), REVISION: 7.1\n")
    + Host({"proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0"}, nodes=("dev/nvmap",)),
    "AMD, built for ROCm": system() + RX_7900,
    "AMD, not built for ROCm": system()
    + pci(FIRST, "0x1002", "0x73ff", "amdgpu")
    + render(128, FIRST)
    + amd_memory(FIRST, 8 * GIB, 16 * GIB, discrete=True)
    + kfd(128, 100302),
    "AMD, Instinct": system()
    + pci(FIRST, "0x1002", "0x740f", "amdgpu", kind="0x038000")
    + render(128, FIRST)
    + amd_memory(FIRST, 64 * GIB, 64 * GIB, discrete=True)
    + kfd(128, 90010),
    "AMD, Strix Halo": system()
    + pci("0000:c5:00.0", "0x1002", "0x1586", "amdgpu")
    + render(128, "0000:c5:00.0")
    + amd_memory("0000:c5:00.0", GIB // 2, 62 * GIB, discrete=False)
    + kfd(128, 110501),
    "AMD, part of a processor": system()
    + pci("0000:c1:00.0", "0x1002", "0x15bf", "amdgpu")
    + render(128, "0000:c1:00.0")
    + amd_memory("0000:c1:00.0", 2 * GIB, 15 * GIB, discrete=False)
    + kfd(128, 110003),
    "AMD, in a container without its nodes": system(**LXC) + pci(FIRST, "0x1002", "0x744c", "amdgpu"),
    "AMD, old driver": system() + pci(FIRST, "0x1002", "0x6798", "radeon") + render(128, FIRST),
    "Intel, part of a processor": system()
    + pci("0000:00:02.0", "0x8086", "0x46a6", "i915")
    + render(128, "0000:00:02.0"),
    "Intel Arc": system() + pci("0000:03:00.0", "0x8086", "0x56a0", "xe") + render(129, "0000:03:00.0"),
    "NVIDIA and Intel": system()
    + RTX_3060
    + nvidia_module("580.95.05")
    + smi(SMI_3060)
    + pci("0000:00:02.0", "0x8086", "0x4680", "i915")
    + render(128, "0000:00:02.0"),
    "NVIDIA without driver, and AMD": system() + pci(SECOND, "0x10de", "0x2504", "nouveau") + RX_7900,
}


def look(host: str, root: Path, mode: str = "auto") -> GpuFacts:
    """What gpu_facts tells of one of the hosts, of which the files are written below ``root``."""
    return look_at(HOSTS[host], root, mode)


def look_at(host: Host, root: Path, mode: str = "auto") -> GpuFacts:
    """The same of any host."""
    host.write(root)
    return gpu_facts(Tree(root), runner(root, 1), mode)


def by_cdi(*devices: str) -> dict[str, Any]:
    """How a Compose service asks for devices by CDI."""
    reservation = {"driver": "cdi", "device_ids": list(devices), "capabilities": []}
    return {"deploy": {"resources": {"reservations": {"devices": [reservation]}}}}
