"""Each supported system gets the packages that bring Compose v2; every other one gets a text with the list."""

from __future__ import annotations

import pytest

from plugins.module_utils.box.install import SUPPORTED, UnsupportedOs, docker_install_plan, supported_system
from tests.unit.box_samples import RECORDED, os_of, recorded

URL = "https://download.docker.com/linux"
DOCKER_PACKAGES = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"]


@pytest.mark.parametrize(
    ("system", "packages"),
    [
        ("debian-13", ["docker.io", "docker-cli", "docker-compose"]),
        ("ubuntu-24.04", ["docker.io", "docker-compose-v2"]),
    ],
)
def test_the_distribution_is_used_where_it_has_compose_v2(system: str, packages: list[str]) -> None:
    assert docker_install_plan(os_of(system)) == {
        "manager": "apt",
        "packages": packages,
        "kernel_modules": "",
        "repository": None,
    }


@pytest.mark.parametrize(
    ("system", "folder", "suite", "arch"),
    [("debian-12", "debian", "bookworm", "amd64"), ("ubuntu-22.04", "ubuntu", "jammy", "arm64")],
)
def test_apt_gets_dockers_own_repository(system: str, folder: str, suite: str, arch: str) -> None:
    plan = docker_install_plan(os_of(system))
    repository = plan["repository"]
    assert (plan["manager"], plan["packages"]) == ("apt", DOCKER_PACKAGES)
    assert repository is not None
    assert repository["key_url"] == f"{URL}/{folder}/gpg"
    assert repository["probe_url"] == f"{URL}/{folder}/dists/{suite}/Release"
    assert repository["sources"].splitlines() == [
        "Types: deb",
        f"URIs: {URL}/{folder}",
        f"Suites: {suite}",
        "Components: stable",
        f"Architectures: {arch}",
        f"Signed-By: {repository['key_path']}",
    ]


@pytest.mark.parametrize(
    ("system", "folder", "major", "machine"),
    [
        ("rhel-9", "rhel", "9", "x86_64"),
        ("rocky-9", "centos", "9", "x86_64"),
        ("almalinux-10", "centos", "10", "aarch64"),
        ("centos-stream-10", "centos", "10", "x86_64"),
        ("fedora-42", "fedora", "42", "x86_64"),
    ],
)
def test_dnf_gets_dockers_own_repository_of_the_major_version(
    system: str, folder: str, major: str, machine: str
) -> None:
    plan = docker_install_plan(os_of(system))
    assert (plan["manager"], plan["packages"]) == ("dnf", DOCKER_PACKAGES)
    assert plan["repository"] == {
        "url": f"{URL}/{folder}/{major}/$basearch/stable",
        "key_url": f"{URL}/{folder}/gpg",
        "key_path": "",
        "sources": "",
        "probe_url": f"{URL}/{folder}/{major}/{machine}/stable/repodata/repomd.xml",
    }


@pytest.mark.parametrize(
    ("system", "kernel", "package"),
    [
        ("almalinux-10", "6.12.0-211.34.1.el10_2.x86_64", "kernel-modules-extra-6.12.0-211.34.1.el10_2.x86_64"),
        ("centos-stream-10", "6.12.0-90.el10.x86_64", "kernel-modules-extra-6.12.0-90.el10.x86_64"),
        ("almalinux-10", "6.12.0-124.8.1.el10_1.aarch64+64k", "kernel-64k-modules-extra-6.12.0-124.8.1.el10_1.aarch64"),
        ("almalinux-10", "6.1.0-40-amd64", ""),
        ("rocky-9", "5.14.0-570.el9.x86_64", ""),
        ("fedora-42", "6.17.1-200.fc42.x86_64", ""),
        ("debian-12", "6.12.0-90.el10.x86_64", ""),
    ],
)
def test_el_10_gets_the_modules_of_its_running_kernel(system: str, kernel: str, package: str) -> None:
    facts = os_of(system)
    facts["kernel"] = kernel
    assert docker_install_plan(facts)["kernel_modules"] == package


@pytest.mark.parametrize("system", ["alpine-3.22", "arch", "opensuse-leap-15.6"])
def test_a_system_outside_the_list_is_refused_with_the_list(system: str) -> None:
    assert supported_system(os_of(system)) is None
    with pytest.raises(UnsupportedOs, match="Install Docker Engine with Compose v2 yourself") as refusal:
        docker_install_plan(os_of(system))
    assert SUPPORTED in str(refusal.value)
    assert os_of(system)["pretty_name"] in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "version"), [("debian", "11"), ("ubuntu", "20.04"), ("rhel", "8.10"), ("fedora", "40"), ("fedora", "")]
)
def test_a_version_outside_the_list_is_refused(name: str, version: str) -> None:
    facts = os_of("debian-13")
    facts["id"], facts["version_id"] = name, version
    assert supported_system(facts) is None


def test_every_recorded_system_says_where_it_comes_from() -> None:
    names = [file.stem for file in RECORDED.glob("*.json")]
    assert len(names) >= 11
    for name in names:
        assert recorded(name)["source"].split()[0] in ("recorded", "composed:")
        assert os_of(name)["id"] == name.rsplit("-", 1)[0].replace("centos-stream", "centos")
