"""Boxes: systemd machines in containers, each with room for a Docker engine of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bed.commands import CommandFailed, Refused, docker, docker_lines
from bed.layout import OWNER_FILTER, OWNER_LABEL
from bed.services import NETWORK, OPEN_NETWORK, ensure_volume

BOOT_SECONDS = 60
BOOTED = ("running", "degraded")

PRIVILEGES = (
    # Not --privileged: machines that are containers themselves often lack this one capability.
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "systempaths=unconfined"),
    # systemd finds its place in the host's hierarchy, under cgroup v1 and v2 alike.
    *("--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),  # noqa: S108 -- the box's own
)
"""What systemd and an engine inside need; found by trial on Docker 20.10 and cgroup v1."""


@dataclass(frozen=True)
class Box:
    """A box to be made."""

    name: str
    image: str
    scenario: str
    seed: str | None
    """Volume with a prepared /var/lib/docker; its files are shared by hard links."""
    registry: bool
    """Whether the public image names lead to the bed's registry."""

    @property
    def volumes(self) -> dict[str, str]:
        """Volumes by the path they have in the box: engines need a file system that is no overlay."""
        return {"/var/lib/docker": f"{self.name}-docker", "/var/lib/containerd": f"{self.name}-containerd"}


def run_arguments(box: Box) -> list[str]:
    """Arguments of `docker` that start the box."""
    mounts = [part for path, volume in box.volumes.items() for part in ("--volume", f"{volume}:{path}")]
    return [
        *("run", "--detach", "--name", box.name, "--hostname", box.name, "--pull", "never"),
        *("--label", OWNER_LABEL, "--label", f"scenario={box.scenario}"),
        *("--network", NETWORK if box.registry else OPEN_NETWORK, "--stop-signal", "SIGRTMIN+3"),
        # A DNS answer that gets lost costs one second instead of five.
        *("--dns-option", "timeout:1", "--dns-option", "attempts:5"),
        *(*PRIVILEGES, *mounts, box.image, "/lib/systemd/systemd"),
    ]


def exists(name: str) -> bool:
    """Whether a container of this name is there. Raises Refused when it is not one of the bed's."""
    listing = ("ps", "--all", "--quiet", "--filter", f"name=^{name}$")
    if not docker_lines(*listing):
        return False
    if not docker_lines(*listing, "--filter", OWNER_FILTER):
        raise Refused(f"a container named {name} is there and is not the test bed's; rename or remove it.")
    return True


def create(box: Box) -> bool:
    """Makes a box and waits until it has booted; one that is there is only started.

    Returns whether it was made. Raises CommandFailed, Refused.
    """
    made = not exists(box.name)
    if made:
        for volume in box.volumes.values():
            ensure_volume(volume, f"scenario={box.scenario}")
        if box.seed is not None:
            copy_seed(box.seed, box.volumes["/var/lib/docker"], box.image)
        docker(*run_arguments(box))
    else:
        docker("start", box.name)
    wait_booted(box.name)
    return made


def wait_booted(name: str) -> None:
    """Waits until systemd has started everything. Raises CommandFailed with the box's own words."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        state = system_state(name)
        if state in BOOTED:
            return
        if time.monotonic() > deadline:
            raise CommandFailed(["docker", "logs", name], 1, f"system state: {state}\n{docker('logs', name)}")
        time.sleep(0.2)


def system_state(name: str) -> str:
    """What systemd says of itself; its exit status is an error while it starts and when a unit has failed."""
    try:
        return docker("exec", name, "systemctl", "is-system-running")
    except CommandFailed as failure:
        return failure.output.strip()


def copy_seed(seed: str, volume: str, image: str) -> None:
    """Fills a volume from a seed: image layers by hard link, databases by copy. Raises CommandFailed.

    A container sees both volumes in one mount, which hard links need; so this works for users who are not root, too.
    An engine never writes to a layer in place, therefore sharing them is safe.
    """
    volumes = docker("volume", "inspect", "--format", "{{.Mountpoint}}", seed).removesuffix(f"/{seed}/_data")
    script = (
        'cd /volumes && cp -al "$1/_data/overlay2" "$2/_data/" && '
        'for entry in "$1"/_data/*; do '
        'case "${entry##*/}" in overlay2|engine-id) ;; *) cp -a "$entry" "$2/_data/" ;; esac; done'
    )
    docker(
        *("run", "--rm", "--network", "none", "--label", OWNER_LABEL, "--volume", f"{volumes}:/volumes"),
        *("--entrypoint", "/bin/sh", image, "-euc", script, "seed", seed, volume),
    )


def remove(scenario: str) -> int:
    """Removes a scenario's boxes and their volumes; returns how many boxes. Raises CommandFailed."""
    filters = ["--filter", OWNER_FILTER, "--filter", f"label=scenario={scenario}"]
    boxes = docker_lines("ps", "--all", "--quiet", *filters)
    if boxes:
        docker("rm", "--force", "--volumes", *boxes)
    volumes = docker_lines("volume", "ls", "--quiet", *filters)
    if volumes:
        docker("volume", "rm", *volumes)
    return len(boxes)
