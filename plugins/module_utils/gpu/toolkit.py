"""NVIDIA's Container Toolkit on a box: what is there, and what the role gpu still has to do.

Containers get GPUs by CDI: the toolkit writes a file that names what belongs to each GPU, and Docker reads it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypedDict

from ..box.install import supported_system
from ..box.system import read_os

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..box.docker import Runner
    from ..box.shapes import OsFacts
    from .container import GpuContainer
    from .tree import Tree

# The toolkit's files have version 0.7.0 of CDI since 1.19.1, which older engines do not read.
ENGINE_FLOOR = (26, 1)
# Docker starts containers at boot before the toolkit's own service has written /var/run/cdi, and does not try again. So
# there is a file that stays; the one in /var/run goes before it once it is there.
SPEC = "etc/cdi/nvidia.yaml"
_APT_SOURCES = "etc/apt/sources.list.d"
_CTK_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
# Its libraries carry the driver's version in their names.
_NUMBERS = re.compile(r"\d+(?:\.\d+)+\Z")
_SPEC_DRIVER = re.compile(r"libnvidia-ml\.so\.(\d+(?:\.\d+)+)")
# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
_REPOSITORY = "https://nvidia.github.io/libnvidia-container"
_REPOSITORY_PATH = "/libnvidia-container/stable/deb"
# Alone it brings the command and CDI, and neither a hook nor a runtime for Docker.
_PACKAGE = "nvidia-container-toolkit-base"
_APT_KEY = "/etc/apt/keyrings/nvidia-container-toolkit.asc"


class ToolkitFacts(TypedDict):
    """What there is. What is not there is an empty text or list."""

    os: OsFacts
    version: str
    devices: list[str]  # the names that containers may ask for, such as nvidia.com/gpu=all
    spec_written: bool  # whether the file that stays over a reboot is there
    spec_driver: str  # the version of the driver for which it was written
    repository_known: bool  # whether apt has NVIDIA's repository already, under any name
    engine_version: str
    cdi: bool | None  # whether Docker reads them; None where it does not answer


class ToolkitInstall(TypedDict):
    """Where the toolkit comes from."""

    manager: str  # apt or dnf
    package: str
    url: str
    key_url: str
    key_path: str  # where apt keeps the key; empty for dnf, which imports it
    sources: str  # the text of apt's sources file; empty for dnf, and where apt has the repository already


class ToolkitTodo(TypedDict):
    """The decisions."""

    problems: list[str]
    install: ToolkitInstall | None
    switch_cdi_on: bool
    write_spec: bool


def read_toolkit(tree: Tree, run: Runner) -> ToolkitFacts:
    """Return what there is on a box.

    Args:
        tree: the box's files.
        run: runs a command on the box.
    """
    version = _CTK_VERSION.search(run(["nvidia-ctk", "--version"]).out)
    listed = run(["nvidia-ctk", "cdi", "list"]).out.split() if version else []
    spec = tree.text(SPEC)
    driver = _SPEC_DRIVER.search(spec)
    engine_version, cdi = _engine(run)
    return {
        "os": read_os(),
        "version": version[1] if version else "",
        "devices": [name for name in listed if name.startswith("nvidia.com/gpu=")],
        "spec_written": bool(spec),
        "spec_driver": driver[1] if driver else "",
        "repository_known": any(
            _REPOSITORY_PATH in tree.text(f"{_APT_SOURCES}/{name}") for name in tree.names(_APT_SOURCES)
        ),
        "engine_version": engine_version,
        "cdi": cdi,
    }


def toolkit_todo(
    facts: ToolkitFacts, container: GpuContainer, install: bool, repository: str = _REPOSITORY
) -> ToolkitTodo:
    """Decide from what is there.

    Args:
        facts: what ``read_toolkit`` found.
        container: what the container gets; its devices and the version of the driver count.
        install: whether a missing toolkit may be installed.
        repository: address of NVIDIA's package repository, or of a copy of it.
    """
    problems = []
    plan = None
    if not facts["version"]:
        plan = _install_plan(facts, repository) if install else None
        if plan is None:
            problems.append(_cannot_install(facts["os"], install=install))
    return {
        "problems": problems,
        "install": plan,
        "switch_cdi_on": facts["cdi"] is False,
        "write_spec": bool(facts["version"])
        and (not facts["spec_written"] or bool(_missing(facts, container)) or _is_old(facts, container)),
    }


def toolkit_problems(facts: ToolkitFacts, container: GpuContainer) -> list[str]:
    """Return what still keeps containers from the GPUs after all was set up."""
    problems = []
    if facts["cdi"] is False:
        problems.append(
            'Docker does not read CDI files though features.cdi is true in /etc/docker/daemon.json: `docker info -f "{{'
            '.CDISpecDirs}}"` names no folder. Look into `journalctl -u docker`.'
        )
    missing = _missing(facts, container)
    if missing:
        problems.append(
            f"NVIDIA's Container Toolkit {facts['version']} offers no {', '.join(missing)}, only "
            f"{', '.join(facts['devices']) or 'nothing'}. `nvidia-ctk cdi generate` on the box says why."
        )
    return problems


def _engine(run: Runner) -> tuple[str, bool | None]:
    answer = run(["docker", "info", "--format", "{{json .}}"])
    try:
        info: Mapping[str, object] = json.loads(answer.out)
    except ValueError:
        return "", None
    version = str(info.get("ServerVersion") or "")
    return version, bool(info.get("CDISpecDirs")) if version else None


def engine_problem(version: str) -> str:
    """Return why an engine cannot hand NVIDIA's GPUs to containers; empty when it can, or its version is not known."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not numbers or numbers >= ENGINE_FLOOR:
        return ""
    floor = ".".join(map(str, ENGINE_FLOOR))
    return f"Docker Engine {version} cannot hand it to containers, {floor} or newer can: bring Docker up to date"


def _missing(facts: ToolkitFacts, container: GpuContainer) -> list[str]:
    return [device for device in container["cdi_devices"] if device not in facts["devices"]]


def _is_old(facts: ToolkitFacts, container: GpuContainer) -> bool:
    driver = container["driver_version"]
    # A Jetson's and Windows's are not those of the libraries.
    return bool(_NUMBERS.match(driver) and facts["spec_driver"]) and driver != facts["spec_driver"]


def _cannot_install(os_facts: OsFacts, *, install: bool) -> str:
    missing = f"NVIDIA's Container Toolkit is missing, without which no container gets the GPU: the package {_PACKAGE}."
    if not install:
        return f"{missing} Install it, or set gpu_toolkit_install: true (group_vars/all/gateway.yml)."
    return (
        f"{missing} How to install it on {os_facts['pretty_name']} is not known here; see "
        "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html, and run again."
    )


def _install_plan(facts: ToolkitFacts, repository: str) -> ToolkitInstall | None:
    os_facts = facts["os"]
    system = supported_system(os_facts)
    if system is None:
        return None
    by_apt = system.manager == "apt"
    # apt refuses to work at all where two of its files name one repository with different keys.
    add = by_apt and not facts["repository_known"]
    url = f"{repository}/stable/deb/{os_facts['arch']}" if by_apt else f"{repository}/stable/rpm/$basearch"
    sources = {"Types": "deb", "URIs": url, "Suites": "/", "Signed-By": _APT_KEY}
    return {
        "manager": system.manager,
        "package": _PACKAGE,
        "url": url,
        "key_url": f"{repository}/gpgkey",
        "key_path": _APT_KEY if add else "",
        "sources": "".join(f"{key}: {value}\n" for key, value in sources.items()) if add else "",
    }
