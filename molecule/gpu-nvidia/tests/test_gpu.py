"""A box with a card by NVIDIA: its toolkit is set up, Ollama gets the card by CDI and is proved to use it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import on_boxes

if TYPE_CHECKING:
    from testinfra.host import Host

OLLAMA = "llm-gateway-ollama"
WATCH = "llm-gateway-ollama-gpu-watch"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
ON_GPU = "smollm2:135m runs on CUDA: 100% of its memory, 29 of 29 layers"


def inspected(host: Host) -> dict[str, Any]:
    """Return what Docker knows of Ollama's container."""
    found: dict[str, Any] = json.loads(host.check_output(f"docker inspect {OLLAMA}"))[0]
    return found


def asked_for(host: Host) -> list[Any]:
    """Return the devices that the container asks for."""
    return [(request["Driver"], request["DeviceIDs"]) for request in inspected(host)["HostConfig"]["DeviceRequests"]]


def test_the_toolkit_comes_signed_from_its_repository_and_cdi_is_merged_into_daemon_json(host: Host) -> None:
    assert host.package("nvidia-container-toolkit-base").version == "1.18.0-1"
    source = host.file("/etc/apt/sources.list.d/nvidia-container-toolkit.sources").content_string
    assert "Signed-By: /etc/apt/keyrings/nvidia-container-toolkit.asc" in source
    config = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert config["features"] == {"cdi": True}
    # What the role docker had written there before.
    assert config["log-driver"] == "json-file"
    assert json.loads(host.check_output("docker info --format '{{json .CDISpecDirs}}'"))


def test_ollama_has_the_card_and_is_as_hardened_as_without(host: Host) -> None:
    assert asked_for(host) == [("cdi", ["nvidia.com/gpu=all"])]
    settings = inspected(host)["HostConfig"]
    assert (settings["ReadonlyRootfs"], settings["CapDrop"], settings["Privileged"]) == (True, ["ALL"], False)
    assert host.run(f"docker exec {OLLAMA} ls /dev/nvidia0 /dev/nvidiactl /dev/nvidia-uvm").rc == 0
    assert inspected(host)["Config"]["User"] == "74011:74011"


def test_a_second_run_proves_it_again_and_changes_nothing(host: Host) -> None:
    before = on_boxes.started_at(host)
    run = on_boxes.play()
    assert (run.rc, run.recap("changed")) == (0, 0), run.output
    assert on_boxes.started_at(host) == before
    assert "models run on the GPU by nvidia: NVIDIA GeForce RTX 3060, 12 GiB" in run.output
    # Ansible writes an apostrophe twice.
    assert "smollm2:135m: the GPU''s memory about" in run.output
    assert ON_GPU in run.output


def test_a_card_is_chosen_by_its_uuid_and_one_that_is_not_there_is_refused(host: Host) -> None:
    refused = on_boxes.play(llm_gpu_devices=["GPU-99999999-2222-3333-4444-555555555555"])
    assert refused.rc != 0
    assert f"is not there. Those that can be used: {UUID} (NVIDIA GeForce RTX 3060)" in " ".join(refused.output.split())
    run = on_boxes.play(llm_gpu_devices=[UUID])
    assert run.rc == 0, run.output
    assert asked_for(host) == [("cdi", [f"nvidia.com/gpu={UUID}"])]
    assert ON_GPU in run.output


def test_a_card_that_is_lost_fails_the_run_where_a_gpu_is_required(host: Host) -> None:
    address = host.check_output(
        f"docker inspect -f '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}' {OLLAMA}"
    )
    unload = json.dumps({"model": "smollm2:135m", "keep_alive": 0})
    host.check_output(f"docker exec --user 0 {OLLAMA} rm /dev/nvidiactl")
    host.check_output(f"curl -sSf http://{address}:11434/api/generate -d '{unload}'")
    run = on_boxes.play(llm_gpu_devices=[UUID])
    assert run.rc != 0
    assert "smollm2:135m runs on the CPU, though the GPU was found at the start." in " ".join(run.output.split())
    settled = on_boxes.play(llm_gpu_devices=[UUID], llm_gpu="auto")
    assert settled.rc == 0, settled.output
    assert "runs on the CPU, though the GPU was found at the start." in " ".join(settled.output.split())


def test_the_watch_recreates_a_container_that_lost_its_card_once(host: Host) -> None:
    assert host.service(f"{WATCH}.timer").is_running
    assert host.service(f"{WATCH}.timer").is_enabled
    before = inspected(host)["Id"]
    host.check_output(f"docker exec --user 0 {OLLAMA} rm -f /dev/nvidiactl")
    host.check_output(f"systemctl start {WATCH}.service")
    after = inspected(host)
    assert after["Id"] != before
    assert after["State"]["Health"]["Status"] == "healthy"
    assert host.run(f"docker exec {OLLAMA} ls /dev/nvidiactl").rc == 0
    lines = host.check_output(f"journalctl --unit {WATCH}.service --output cat").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert [event["event"] for event in events] == ["gpu_lost", "gpu_recovered"]
    assert events[0]["mode"] == "nvidia"
