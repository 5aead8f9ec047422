"""The shapes that box_facts returns and that the rules in this package read. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from ..gpu.shapes import GpuFacts


class OsFacts(TypedDict):
    """The operating system, from os-release and the kernel."""

    id: str
    version_id: str
    codename: str
    pretty_name: str
    arch: str  # amd64, arm64, or the kernel's own word for anything else
    kernel: str  # release of the running kernel, as `uname -r` prints it


class ServiceFacts(TypedDict):
    """The systemd unit docker.service."""

    state: str  # active, inactive, failed, masked, missing, or another state in systemd's words
    enabled: bool
    log_flags: bool  # dockerd's command line sets logging, so daemon.json must not


class DaemonConfigFacts(TypedDict):
    """Docker's daemon.json: only what concerns logging, for the file may hold proxy passwords."""

    error: str  # why it cannot be read as JSON; empty when it can, or is not there
    log: dict[str, Any]  # the keys log-driver and log-opts, where set


class DockerFacts(TypedDict):
    """Docker as found on the box."""

    client: bool
    engine: bool
    kind: str  # docker, snap, podman (podman's stand-in for the command), or none
    edition: str  # community (Docker's own packages), distribution, or empty when it does not tell
    running: bool
    engine_version: str
    compose_version: str
    error: str
    service: ServiceFacts
    daemon_config: DaemonConfigFacts
    network_exists: bool | None  # None: not asked, or the engine does not answer
    images_missing: list[str] | None


class PortHolder(TypedDict):
    """Who listens on a port or publishes it. Unknown texts are empty, an unknown pid is 0."""

    address: str
    pid: int
    process: str
    container: str
    project: str


class PortFacts(TypedDict):
    """One address and port that the gateway wants."""

    address: str
    port: int
    state: str  # free, taken, no_address (the box has no such address), or invalid
    detail: str
    holders: list[PortHolder]


class PathFacts(TypedDict):
    """Room at a path."""

    path: str
    free_bytes: int


class UidFacts(TypedDict):
    """Whose number a container's user would share. Empty texts: nobody has it."""

    uid: int
    account: str
    group: str
    strangers: list[str]  # names in the user's folder that belong to somebody else


class ModelFacts(TypedDict):
    """One model, as the box holds it or as Ollama's registry knows it."""

    name: str
    state: str  # held (whole on the box), known, unknown, unreachable, elsewhere (another registry), or invalid
    bytes: int
    missing_bytes: int
    detail: str


class ModelsFacts(TypedDict):
    """The declared models together; layers that two models share are counted once."""

    directory: PathFacts | None
    missing_bytes: int
    items: list[ModelFacts]


class FileFacts(TypedDict):
    """A file that a container is to read."""

    path: str
    state: str  # file, missing or other
    readable: bool  # for the user that the container runs as


class RepositoryFacts(TypedDict):
    """Whether Docker's own package repository answers."""

    url: str
    reachable: bool
    error: str


class BoxFacts(TypedDict):
    """Everything box_facts collects."""

    os: OsFacts
    memory_bytes: int
    systemd: bool
    curl: bool
    docker: DockerFacts
    docker_repository: RepositoryFacts | None
    rpms_in_the_way: list[str]  # installed packages beside which dnf does not install Docker's own
    ports: list[PortFacts]
    uids: list[UidFacts]
    files: list[FileFacts]
    models: ModelsFacts
    gpu: GpuFacts | None  # None where nobody asked
    shapes: dict[str, dict[str, Any]]  # by model, as ollama/memory.py reads it from an Ollama that runs and holds it


Wanted = Mapping[str, Any]
