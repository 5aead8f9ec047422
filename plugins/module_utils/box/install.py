"""Where Docker and Compose v2 come from on each supported system."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from .shapes import OsFacts

SUPPORTED = (
    "Debian 12 and 13, Ubuntu 22.04 and 24.04, RHEL, Rocky Linux, AlmaLinux and CentOS Stream 9 and 10, "
    "Fedora 41 and newer"
)
_DOCKER_URL = "https://download.docker.com/linux"
# https://docs.docker.com/engine/install/
_DOCKER_PACKAGES = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"]
_APT_KEY = "/etc/apt/keyrings/docker.asc"
_FIRST_FEDORA = 41  # the oldest one Docker's page for Fedora still names
_KERNEL_WORDS = {"amd64": "x86_64", "arm64": "aarch64"}
# containerd.io obsoletes runc and conflicts with it, and podman may require it (containerd-packaging's
# rpm/containerd.spec; https://docs.docker.com/engine/install/rhel/#uninstall-old-versions).
RPMS_IN_THE_WAY = ("runc",)
# A kernel of EL 10 itself, with the variant (64k, rt) that its packages carry in their names.
_EL10_KERNEL = re.compile(r"(?P<release>[^+]+\.el10[^+]*)(?:\+(?P<variant>\w+))?")


class UnsupportedOs(Exception):
    """There is no known way to install Docker on this system."""


class Repository(TypedDict):
    """Docker's own package repository."""

    url: str
    key_url: str
    key_path: str  # where apt keeps the key; empty for dnf, which imports it
    sources: str  # the text of apt's sources file; empty for dnf
    probe_url: str  # a small file that is there exactly when the repository serves this system


class InstallPlan(TypedDict):
    """How to install Docker: packages for a package manager, and a repository when the distribution's do not do."""

    manager: str  # apt or dnf
    packages: list[str]
    kernel_modules: str  # package with modules of the running kernel that dockerd needs; empty when none is needed
    repository: Repository | None


class System(NamedTuple):
    """A system of the list, by os-release's ID and the major version."""

    manager: str
    packages: list[str]
    docker_family: str  # the folder of Docker's repository; empty when the distribution's packages do


_APT_DOCKER = {("debian", "12"): "debian", ("ubuntu", "22.04"): "ubuntu"}
_APT_OWN = {
    ("debian", "13"): ["docker.io", "docker-cli", "docker-compose"],
    ("ubuntu", "24.04"): ["docker.io", "docker-compose-v2"],
}
# Docker has a folder for RHEL; its rebuilds and CentOS Stream take that for CentOS.
_EL_FOLDERS = {"rhel": "rhel", "centos": "centos", "rocky": "centos", "almalinux": "centos"}
_EL_VERSIONS = ("9", "10")


def supported_system(os_facts: OsFacts) -> System | None:
    """The entry of the list for this system, or None when it is not on the list."""
    name, version = os_facts["id"], os_facts["version_id"]
    major = version.split(".")[0]
    if (name, version) in _APT_OWN:
        return System("apt", _APT_OWN[name, version], "")
    if (name, version) in _APT_DOCKER:
        return System("apt", _DOCKER_PACKAGES, _APT_DOCKER[name, version])
    if name in _EL_FOLDERS and major in _EL_VERSIONS:
        return System("dnf", _DOCKER_PACKAGES, _EL_FOLDERS[name])
    if name == "fedora" and major.isdigit() and int(major) >= _FIRST_FEDORA:
        return System("dnf", _DOCKER_PACKAGES, "fedora")
    return None


def docker_install_plan(os_facts: OsFacts) -> InstallPlan:
    """How to install Docker with Compose v2 on this system.

    Raises UnsupportedOs, whose text lists what is supported.
    """
    system = supported_system(os_facts)
    if system is None:
        raise UnsupportedOs(
            f"Docker is missing, and {os_facts['pretty_name']} is not among the systems it can be "
            f"installed on: {SUPPORTED}. Install Docker Engine with Compose v2 yourself "
            "(https://docs.docker.com/engine/install/) and run again."
        )
    repository = None
    if system.docker_family:
        repository = _apt_repository(system, os_facts) if system.manager == "apt" else _dnf_repository(system, os_facts)
    return {
        "manager": system.manager,
        "packages": list(system.packages),
        "kernel_modules": _kernel_modules(os_facts),
        "repository": repository,
    }


def _kernel_modules(os_facts: OsFacts) -> str:
    """The package that brings xt_addrtype on EL 10, without which dockerd does not start.

    Nothing pulls it in since iptables 1.8.11-15.el10 (https://github.com/docker/docker-ce-packaging/issues/1340). Its
    version is that of the running kernel: the newest one would serve only after a reboot. Another kernel, such as that
    around a container, has its modules elsewhere.
    """
    kernel = _EL10_KERNEL.fullmatch(os_facts["kernel"])
    if os_facts["id"] not in _EL_FOLDERS or kernel is None:
        return ""
    variant = f"{kernel['variant']}-" if kernel["variant"] else ""
    return f"kernel-{variant}modules-extra-{kernel['release']}"


def _apt_repository(system: System, os_facts: OsFacts) -> Repository:
    url = f"{_DOCKER_URL}/{system.docker_family}"
    sources = {
        "Types": "deb",
        "URIs": url,
        "Suites": os_facts["codename"],
        "Components": "stable",
        "Architectures": os_facts["arch"],
        "Signed-By": _APT_KEY,
    }
    return {
        "url": url,
        "key_url": f"{url}/gpg",
        "key_path": _APT_KEY,
        "sources": "".join(f"{key}: {value}\n" for key, value in sources.items()),
        "probe_url": f"{url}/dists/{os_facts['codename']}/Release",
    }


def _dnf_repository(system: System, os_facts: OsFacts) -> Repository:
    # The major version is written out: $releasever may be a minor one on RHEL, and Docker has no folder for those.
    folder = f"{_DOCKER_URL}/{system.docker_family}"
    url = f"{folder}/{os_facts['version_id'].split('.')[0]}/$basearch/stable"
    probe = url.replace("$basearch", _KERNEL_WORDS.get(os_facts["arch"], os_facts["arch"]))
    return {
        "url": url,
        "key_url": f"{folder}/gpg",
        "key_path": "",
        "sources": "",
        "probe_url": f"{probe}/repodata/repomd.xml",
    }
