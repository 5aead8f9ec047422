"""Display devices on the PCI bus, as sysfs lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .tree import Tree

_DEVICES = "sys/bus/pci/devices"
# VGA, 3D and other display controllers (https://pci-ids.ucw.cz/read/PD/03); some Instinct cards say accelerator (12).
_CLASSES = ("0x0300", "0x0302", "0x0380", "0x1200")
VENDORS = {0x10DE: "nvidia", 0x1002: "amd", 0x8086: "intel"}


class PciDevice(NamedTuple):
    """A device: its address, vendor and device number, and the kernel's driver that holds it, if one does."""

    address: str
    vendor: str
    device: int
    driver: str
    render_node: str  # such as /dev/dri/renderD128, empty without one


def display_devices(tree: Tree) -> list[PciDevice]:
    """Return the GPUs by NVIDIA, AMD and Intel; other display devices, such as a server's own, draw text at best."""
    found = []
    renders = {tree.points_to(f"sys/class/drm/{name}/device"): name for name in _renders(tree)}
    for address in tree.names(_DEVICES):
        vendor = VENDORS.get(tree.number(f"{_DEVICES}/{address}/vendor") or 0)
        if vendor is None or not tree.text(f"{_DEVICES}/{address}/class").startswith(_CLASSES):
            continue
        found.append(
            PciDevice(
                address=address,
                vendor=vendor,
                device=tree.number(f"{_DEVICES}/{address}/device") or 0,
                driver=tree.points_to(f"{_DEVICES}/{address}/driver"),
                render_node=f"/dev/dri/{renders[address]}" if address in renders else "",
            )
        )
    return found


def _renders(tree: Tree) -> list[str]:
    return [name for name in tree.names("sys/class/drm") if name.startswith("renderD")]


def no_driver(device: PciDevice, wanted: str) -> str:
    """Return why a device cannot be used when its driver is not the wanted one; empty when it is.

    Args:
        device: a device.
        wanted: names of drivers with which it works, for people.
    """
    if device.driver in wanted.split(" or "):
        return ""
    if device.driver in ("vfio-pci", "pci-stub"):
        return f"it is set aside for a virtual machine (driver {device.driver}), so this system cannot use it"
    held = f"the driver {device.driver} holds it" if device.driver else "no driver holds it"
    return f"{held}, and {wanted} is needed"
