"""A box whose GPU nothing can use: the run says why, refuses where a GPU is required, and else takes the CPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host

TOO_OLD = "535.247.01"


def said(run: on_boxes.Run) -> str:
    """Return what a run printed, in one line."""
    return " ".join(run.output.split())


def test_a_required_gpu_is_refused_before_anything_changes(host: Host) -> None:
    run = on_boxes.play(llm_gpu="required")
    assert run.rc != 0
    assert "llm_gpu (group_vars/all/gateway.yml): a GPU is required, and none here can be used unasked" in said(run)
    assert TOO_OLD in said(run)
    assert "Mend that, or set llm_gpu: auto, which settles for the CPU." in said(run)
    assert not host.file("/opt/llm-gateway").exists


def test_a_library_that_is_asked_for_is_not_replaced_by_the_cpu() -> None:
    run = on_boxes.play(llm_gpu="nvidia")
    assert run.rc != 0
    assert "no GPU here can be used by nvidia" in said(run)


def test_unasked_models_run_on_the_cpu_and_the_run_says_why(host: Host) -> None:
    run = on_boxes.play()
    assert run.rc == 0, run.output
    assert "models run on the CPU: NVIDIA" in said(run)
    assert TOO_OLD in said(run)
    container = json.loads(host.check_output("docker inspect llm-gateway-ollama"))[0]
    assert container["HostConfig"]["Devices"] in (None, [])
    assert container["HostConfig"]["DeviceRequests"] in (None, [])
    assert "NVIDIA_VISIBLE_DEVICES=void" in container["Config"]["Env"]
    assert not host.package("nvidia-container-toolkit-base").is_installed
