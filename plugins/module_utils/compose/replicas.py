"""Replace the containers of a Compose project without a moment in which none of them answers.

A service carries a digest of all it is made of in its name (``definition.py``), so a changed one is another service:
Compose starts it beside the old one, which goes on answering until the new one has proved that it does.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

POLL_SECONDS = 0.1
# Compose's own labels (github.com/compose-spec/compose-go, consts; docker/compose pkg/api/labels.go).
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"

Run = Callable[[list[str]], str]
IsReady = Callable[[str], bool]


class RollFailed(Exception):
    """The new containers cannot take over. The message is a sentence for the user."""


@dataclass(frozen=True)
class Project:
    """A Compose project: its name, and the container name of each service."""

    name: str
    services: Mapping[str, str]


@dataclass(frozen=True)
class Container:
    """One container of a project, as Docker tells. ``address`` is empty while it has none."""

    id: str
    name: str
    service: str
    status: str
    exit_code: int
    restarts: int
    address: str

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.status == "running"

    def failed(self, restarts: int) -> bool:
        """Whether its process has ended since Docker had started it again so many times."""
        return self.restarts > restarts or self.status in {"exited", "restarting", "dead"}


def project_of(config: str) -> Project:
    """Read what ``docker compose config --format json`` printed."""
    read = json.loads(config)
    return Project(read["name"], {name: service["container_name"] for name, service in read["services"].items()})


def containers_of(inspected: str, network: str) -> list[Container]:
    """Read what ``docker inspect`` printed; addresses are those on one network."""
    found = []
    for container in json.loads(inspected or "[]"):
        state = container["State"]
        endpoint = container["NetworkSettings"]["Networks"].get(network) or {}
        found.append(
            Container(
                id=container["Id"],
                name=container["Name"].lstrip("/"),
                service=container["Config"]["Labels"].get(SERVICE_LABEL, ""),
                status=state["Status"],
                exit_code=state["ExitCode"],
                restarts=container["RestartCount"],
                address=endpoint.get("IPAddress", ""),
            )
        )
    return found


def missing(project: Project, containers: Iterable[Container]) -> list[str]:
    """Return the services that no running container stands for, in the order of the project."""
    running = {container.service for container in containers if container.running}
    return [service for service in project.services if service not in running]


def replaced(project: Project, containers: Iterable[Container]) -> list[Container]:
    """Return the containers of services that the project has no more."""
    return [container for container in containers if container.service not in project.services]


def names_to_free(project: Project, containers: Iterable[Container]) -> dict[str, str]:
    """Return new names for replaced containers that hold the name of a new one, by the id of the container."""
    taken = set(project.services.values())
    return {
        container.id: f"{container.name}-{container.id[:8]}"
        for container in replaced(project, containers)
        if container.name in taken
    }


def names_to_give(project: Project, containers: Iterable[Container]) -> dict[str, str]:
    """Return the right names of containers that have another one, as after a roll that was taken back, by id."""
    return {
        container.id: project.services[container.service]
        for container in containers
        if container.service in project.services and container.name != project.services[container.service]
    }


class Replicas:
    """The containers of one project.

    Args:
        run: runs a command in the project's folder and returns what it printed; raises RollFailed.
        network: the Docker network on which the containers are asked.
    """

    def __init__(self, run: Run, network: str) -> None:
        self._run = run
        self._network = network
        self.project = project_of(run(["docker", "compose", "config", "--format", "json"]))

    def look(self) -> list[Container]:
        """Return all containers of the project, stopped ones too."""
        own = f"label={PROJECT_LABEL}={self.project.name}"
        listed = self._run(["docker", "ps", "-aq", "--no-trunc", "--filter", own])
        ids = listed.split()
        return containers_of(self._run(["docker", "inspect", *ids]), self._network) if ids else []

    def start(self, services: Sequence[str]) -> None:
        """Start services beside what runs already."""
        for container, name in names_to_free(self.project, self.look()).items():
            self._run(["docker", "rename", container, name])
        self._run(["docker", "compose", "--progress", "quiet", "up", "--detach", "--no-deps", *services])

    def wait(self, services: Sequence[str], is_ready: IsReady, seconds: float) -> dict[str, float]:
        """Wait until services are ready; return the seconds that each took.

        Args:
            services: names of the services.
            is_ready: tells whether the one at an address is ready.
            seconds: how long to wait for all of them.

        Raises:
            RollFailed: one has ended, or is not ready in time.
        """
        begin = time.monotonic()
        ready: dict[str, float] = {}
        # Docker goes on counting the restarts of a container that recovered long ago.
        before = {container.id: container.restarts for container in self.look() if container.status != "restarting"}
        while len(ready) < len(services):
            waited_for = {
                container.service: container
                for container in self.look()
                if container.service in services and container.service not in ready
            }
            for service in [name for name in services if name not in ready]:
                found = waited_for.get(service)
                name = self.project.services[service]
                if found is None or found.failed(before.get(found.id, 0)):
                    status = f"; its exit status was {found.exit_code}" if found else ""
                    raise RollFailed(f"{name} ended while it was starting{status}")
                if found.address and is_ready(found.address):
                    ready[service] = time.monotonic() - begin
                elif time.monotonic() - begin > seconds:
                    raise RollFailed(f"{name} was not ready within {seconds:g} s")
            time.sleep(POLL_SECONDS)
        return ready

    def retire(self) -> list[str]:
        """Stop and remove what was replaced; return the names of those containers.

        Each finishes the answers it is giving, for as long as its ``stop_grace_period`` lets it.
        """
        old = replaced(self.project, self.look())
        if old:
            ids = [container.id for container in old]
            self._run(["docker", "stop", *ids])
            self._run(["docker", "rm", "--force", "--volumes", *ids])
        for container, name in names_to_give(self.project, self.look()).items():
            self._run(["docker", "rename", container, name])
        return [container.name for container in old]


def available_megabytes(meminfo: str) -> float:
    """Return what ``/proc/meminfo`` says is available for new processes, in MB."""
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024 / 1e6
    raise ValueError("/proc/meminfo has no MemAvailable")


def memory_problem(needed_mb: float, count: int, meminfo: str) -> str:
    """Return why so many containers cannot start beside the old ones; empty when they can.

    Args:
        needed_mb: memory of one, in MB.
        count: how many would start.
        meminfo: the text of ``/proc/meminfo``.
    """
    available = available_megabytes(meminfo)
    if available >= needed_mb * count:
        return ""
    return (
        f"{count} new containers need {needed_mb * count:.0f} MB of memory beside the old ones, and this box has "
        f"{available:.0f} MB left. Nothing was stopped. Free some{', or set litellm_replicas: 1' if count > 1 else ''}"
    )


def steps_of(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the seconds of each step, rounded for a result."""
    return {name: round(value, 2) for name, value in seconds.items()}
