"""A box that had nothing on it: Docker comes from the distribution, the images come from the registry by digest."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import TYPE_CHECKING

import on_boxes
import pytest
import yaml

if TYPE_CHECKING:
    from testinfra.host import Host

BOX = "llm-bare-trixie"
testinfra_hosts = [f"ansible://{BOX}"]
BOOT_SECONDS = 120


def pinned_images() -> dict[str, str]:
    """Return the images that run as shipped, by name, as Docker writes them."""
    pins = yaml.safe_load((on_boxes.BED / "pins.yml").read_text())["llm_images"]
    return {
        name: f"{pin['repository']}:{pin['tag']}" + (f"@{pin['digest']}" if pin["digest"] else "")
        for name, pin in pins.items()
        # Nothing is declared that runs in it.
        if name != "llamacpp"
    }


@pytest.mark.parametrize("package", ["docker.io", "docker-cli", "docker-compose"])
def test_docker_comes_from_debian(host: Host, package: str) -> None:
    policy = host.check_output(f"apt-cache policy {package}").splitlines()
    installed = next(number for number, line in enumerate(policy) if line.lstrip().startswith("***"))
    origins = " ".join(policy[installed + 1 : installed + 3])
    assert "trixie" in origins, policy
    # 1 is grep's word for nothing found; 2 would mean that it could not look.
    assert host.run("grep -r download.docker.com /etc/apt").rc == 1
    assert not host.package("docker-ce").is_installed


def test_docker_runs_and_starts_at_boot(host: Host) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled


def test_logs_of_every_container_are_rotated(host: Host) -> None:
    configured = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert configured["log-opts"] == {"max-size": "10m", "max-file": "3"}
    name = host.check_output(f"docker create {shlex.quote(pinned_images()['redis'])}")
    try:
        given = json.loads(host.check_output(f"docker inspect -f '{{{{json .HostConfig.LogConfig}}}}' {name}"))
    finally:
        host.check_output(f"docker rm {name}")
    assert given == {"Type": configured["log-driver"], "Config": configured["log-opts"]}


def test_the_pinned_images_were_pulled_and_run(host: Host) -> None:
    pinned = pinned_images()
    for image in pinned.values():
        host.check_output(f"docker image inspect {shlex.quote(image)}")
    assert all("@sha256:" in image for image in pinned.values()) != on_boxes.upstream()
    running = host.check_output("docker inspect -f '{{.Config.Image}}' " + " ".join(on_boxes.CONTAINERS)).split()
    assert set(running) == set(pinned.values())


def assert_answers(host: Host) -> None:
    """Ask the model of the catalog as it is shipped."""
    status, headers, answer = on_boxes.ask(host, "/v1/chat/completions", on_boxes.chat("local"))
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"]
    assert headers["x-litellm-model-id"].startswith("local/ollama/")


def test_the_shipped_catalog_answers(host: Host) -> None:
    assert_answers(host)


def test_the_gateway_comes_back_after_a_reboot(host: Host) -> None:
    before = on_boxes.started_at(host)
    subprocess.run(["docker", "restart", "--time", "60", BOX], check=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + BOOT_SECONDS
    states = ["{{.State.Health.Status}}"]
    while set(states) != {"healthy"} and time.monotonic() < deadline:
        time.sleep(1)
        found = host.run("docker inspect -f '{{.State.Health.Status}}' " + " ".join(on_boxes.CONTAINERS))
        states = found.stdout.split() or [found.stderr]
    assert states == ["healthy"] * len(on_boxes.CONTAINERS)
    after = on_boxes.started_at(host)
    assert [name for name in before if after[name] == before[name]] == []
    assert_answers(host)
