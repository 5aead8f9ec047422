"""A box with a card by AMD: Ollama's image for it, its device nodes and their groups by number, proved to be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host

OLLAMA = "llm-gateway-ollama"


def test_ollama_runs_the_image_for_amd_with_the_nodes_and_their_groups(host: Host) -> None:
    container = json.loads(host.check_output(f"docker inspect {OLLAMA}"))[0]
    assert container["Config"]["Image"].partition("@")[0].endswith("-rocm")
    settings = container["HostConfig"]
    assert sorted(device["PathOnHost"] for device in settings["Devices"]) == ["/dev/dri/renderD128", "/dev/kfd"]
    assert settings["GroupAdd"] == [host.check_output("stat -c %g /dev/kfd")]
    assert (settings["ReadonlyRootfs"], settings["CapDrop"], settings["Privileged"]) == (True, ["ALL"], False)
    assert container["Config"]["User"] == "74011:74011"


def test_nothing_of_nvidia_is_installed(host: Host) -> None:
    assert not host.package("nvidia-container-toolkit-base").is_installed
    assert "features" not in json.loads(host.file("/etc/docker/daemon.json").content_string)


def test_a_second_run_proves_it_again_and_changes_nothing(host: Host) -> None:
    before = on_boxes.started_at(host)
    run = on_boxes.play()
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
    assert on_boxes.started_at(host) == before
    assert "models run on the GPU by rocm: AMD device 744c, gfx1100, 24 GiB" in run.output
    assert "smollm2:135m runs on ROCm: 100% of its memory" in run.output


def test_vulkan_by_choice_takes_the_ordinary_image_and_the_render_node_alone(host: Host) -> None:
    run = on_boxes.play(llm_gpu="vulkan")
    assert run.rc == 0, run.output
    assert "smollm2:135m runs on Vulkan: 100% of its memory" in run.output
    container = json.loads(host.check_output(f"docker inspect {OLLAMA}"))[0]
    assert "rocm" not in container["Config"]["Image"]
    assert [device["PathOnHost"] for device in container["HostConfig"]["Devices"]] == ["/dev/dri/renderD128"]
