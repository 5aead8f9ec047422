"""What is to be done for containers to get NVIDIA's GPUs, and what is told where that cannot be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.box.docker import Answer
from plugins.module_utils.gpu.container import gpu_container
from plugins.module_utils.gpu.facts import without_cuda
from plugins.module_utils.gpu.toolkit import engine_problem, read_toolkit, toolkit_problems, toolkit_todo
from plugins.module_utils.gpu.tree import Tree
from tests.unit.box_samples import os_of
from tests.unit.gpu_hosts import OTHER_UUID, UUID, look

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from plugins.module_utils.gpu.container import GpuContainer
    from plugins.module_utils.gpu.toolkit import ToolkitFacts

DRIVER = "580.95.05"
# As nvidia-ctk 1.17 prints them; what it logs goes elsewhere.
VERSION = "NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a9b9d0db00d9b1d73c0128c8962c55f4d\n"
LIST = f"nvidia.com/gpu=0\nnvidia.com/gpu={UUID}\nnvidia.com/gpu=all\n"
SPEC = f"  mounts:\n  - containerPath: /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{DRIVER}\n"


def facts(**changes: Any) -> ToolkitFacts:
    """A box on which nothing is missing, changed where asked."""
    plain: dict[str, Any] = {
        "os": os_of("debian-13"),
        "version": "1.17.8",
        "devices": LIST.split(),
        "spec_written": True,
        "spec_driver": DRIVER,
        "repository_known": False,
        "engine_version": "26.1.5+dfsg1",
        "cdi": True,
    }
    return {**plain, **changes}  # type: ignore[typeddict-item]


@pytest.fixture
def container(tmp_path: Path) -> GpuContainer:
    return gpu_container(look("NVIDIA, ready", tmp_path))


def read(root: Path, **answers: str) -> ToolkitFacts:
    """Read a box on which commands answer as given, and others are missing."""

    def run(command: Sequence[str]) -> Answer:
        out = answers.get("_".join(command[:2]).replace("-", ""), "")
        return Answer(0 if out else 127, out, "")

    return read_toolkit(Tree(root), run)


def test_everything_is_read(tmp_path: Path) -> None:
    (tmp_path / "etc/cdi").mkdir(parents=True)
    (tmp_path / "etc/cdi/nvidia.yaml").write_text(SPEC)
    info = json.dumps({"ServerVersion": "26.1.5", "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"]})
    found = read(tmp_path, nvidiactk_version=VERSION, nvidiactk_cdi=LIST, docker_info=info)
    assert {key: value for key, value in found.items() if key != "os"} == {
        "version": "1.17.8",
        "devices": LIST.split(),
        "spec_written": True,
        "spec_driver": DRIVER,
        "repository_known": False,
        "engine_version": "26.1.5",
        "cdi": True,
    }


def test_a_box_with_nothing_tells_nothing(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found["version"], found["devices"], found["engine_version"], found["cdi"]) == ("", [], "", None)
    stopped = read(tmp_path, docker_info=json.dumps({"ServerVersion": "", "ServerErrors": ["Cannot connect"]}))
    assert stopped["cdi"] is None
    off = read(tmp_path, docker_info=json.dumps({"ServerVersion": "26.1.5", "CDISpecDirs": []}))
    assert off["cdi"] is False


def test_where_nothing_is_missing_nothing_is_done(container: GpuContainer) -> None:
    nothing: dict[str, Any] = {"problems": [], "install": None, "switch_cdi_on": False, "write_spec": False}
    assert toolkit_todo(facts(), container, install=True) == nothing
    assert toolkit_problems(facts(), container) == []


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"cdi": False}, {"switch_cdi_on": True}),
        ({"cdi": None, "engine_version": ""}, {}),
        ({"devices": []}, {"write_spec": True}),
        # A spec names the libraries of its driver, and those are gone after an update.
        ({"spec_driver": "570.133.07"}, {"write_spec": True}),
        ({"spec_driver": ""}, {}),
        # What lies in /var/run alone is not there yet when Docker starts containers at boot.
        ({"spec_written": False, "spec_driver": ""}, {"write_spec": True}),
    ],
)
def test_exactly_what_is_missing_is_done(container: GpuContainer, changes: Any, wanted: dict[str, bool]) -> None:
    nothing: dict[str, Any] = {"problems": [], "install": None, "switch_cdi_on": False, "write_spec": False}
    assert toolkit_todo(facts(**changes), container, install=True) == {**nothing, **wanted}


@pytest.mark.parametrize(
    ("system", "manager", "url"),
    [
        ("debian-13", "apt", "https://nvidia.github.io/libnvidia-container/stable/deb/amd64"),
        ("ubuntu-24.04", "apt", "https://nvidia.github.io/libnvidia-container/stable/deb/amd64"),
        ("rhel-9", "dnf", "https://nvidia.github.io/libnvidia-container/stable/rpm/$basearch"),
        ("rocky-9", "dnf", "https://nvidia.github.io/libnvidia-container/stable/rpm/$basearch"),
        ("fedora-42", "dnf", "https://nvidia.github.io/libnvidia-container/stable/rpm/$basearch"),
    ],
)
def test_the_toolkit_comes_from_nvidia(container: GpuContainer, system: str, manager: str, url: str) -> None:
    todo = toolkit_todo(facts(version="", devices=[], os=os_of(system)), container, install=True)
    assert todo["problems"] == []
    assert todo["install"] is not None
    assert (todo["install"]["manager"], todo["install"]["url"]) == (manager, url)
    assert todo["install"]["key_url"] == "https://nvidia.github.io/libnvidia-container/gpgkey"
    assert ("Suites: /\n" in todo["install"]["sources"]) == (manager == "apt")


def test_a_repository_that_apt_has_is_not_named_twice(container: GpuContainer, tmp_path: Path) -> None:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    assert not read(tmp_path)["repository_known"]
    line = "deb [signed-by=/x.gpg] https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /\n"
    (folder / "nvidia-container-toolkit.list").write_text(line)
    assert read(tmp_path)["repository_known"]
    plan = toolkit_todo(facts(version="", devices=[], repository_known=True), container, install=True)["install"]
    assert plan is not None
    assert (plan["package"], plan["sources"], plan["key_path"]) == ("nvidia-container-toolkit-base", "", "")


def test_the_driver_of_a_jetson_or_of_windows_is_compared_with_nothing(container: GpuContainer) -> None:
    jetson: GpuContainer = {**container, "driver_version": "JetPack 6"}
    assert not toolkit_todo(facts(), jetson, install=True)["write_spec"]


def test_a_toolkit_that_may_not_be_installed_is_a_problem(container: GpuContainer) -> None:
    (problem,) = toolkit_todo(facts(version="", devices=[]), container, install=False)["problems"]
    assert "the package nvidia-container-toolkit-base. Install it, or set gpu_toolkit_install: true" in problem
    unknown = {**os_of("debian-13"), "id": "arch", "pretty_name": "Arch Linux"}
    (problem,) = toolkit_todo(facts(version="", devices=[], os=unknown), container, install=True)["problems"]
    assert "How to install it on Arch Linux is not known here" in problem


def test_on_an_engine_that_is_too_old_models_run_on_the_cpu_or_the_run_is_refused(tmp_path: Path) -> None:
    assert [engine_problem(version) for version in ("", "26.1.5+dfsg1", "28.0.4")] == ["", "", ""]
    why = engine_problem("24.0.7")
    assert why == "Docker Engine 24.0.7 cannot hand it to containers, 26.1 or newer can: bring Docker up to date"
    found = without_cuda(look("NVIDIA, ready", tmp_path), why, "auto")
    assert found["verdict"]["mode"] == "cpu"
    assert why in found["verdict"]["reason"]
    for wish in ("required", "nvidia"):
        assert why in without_cuda(found, why, wish)["verdict"]["problem"]


def test_what_is_still_in_the_way_is_told(tmp_path: Path) -> None:
    both = gpu_container(look("NVIDIA, two cards", tmp_path), [OTHER_UUID])
    (problem,) = toolkit_problems(facts(), both)
    assert f"offers no nvidia.com/gpu={OTHER_UUID}, only nvidia.com/gpu=0, nvidia.com/gpu={UUID}" in problem
    (problem,) = toolkit_problems(facts(cdi=False), gpu_container(look("NVIDIA, ready", tmp_path / "one")))
    assert "Docker does not read CDI files" in problem
