"""Containers that answer for the outside world: an image registry under the public names, and the stand-ins."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from bed.certificates import MODEL_REGISTRY_NAME, REGISTRY_NAMES
from bed.commands import CommandFailed, docker, docker_lines
from bed.layout import OWNER_FILTER, OWNER_LABEL, Layout

NETWORK = "llm-bed"
"""Boxes here reach the bed's registry under the public names."""

OPEN_NETWORK = "llm-bed-open"
"""Boxes here reach the real registries, and of the bed only the provider stand-ins."""

SUBNETS = {NETWORK: "10.213.0.0/24", OPEN_NETWORK: "10.213.1.0/24"}
"""Apart from the ranges that the engines inside the boxes choose by themselves."""

PROVIDERS_NAME = "providers.test"
"""With a dot: engines in the boxes do not pass on names without one."""

REGISTRY = "llm-bed-registry"
DOUBLES = "llm-bed-doubles"


@dataclass(frozen=True)
class Service:
    """A long-running container of the bed."""

    name: str
    image: str
    options: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]]
    """Names it answers to, by network; the first network is the one it starts in."""

    @property
    def fingerprint(self) -> str:
        """Changes when the container has to be made anew."""
        return hashlib.sha256(repr((self.image, self.options, self.aliases)).encode()).hexdigest()[:12]


def registry_service(layout: Layout, image: str) -> Service:
    """The image registry; this machine pushes to it through a port on 127.0.0.1."""
    options = ("--publish", "127.0.0.1::443", "--volume", f"{REGISTRY}:/var/lib/registry", *_tls_mount(layout))
    return Service(REGISTRY, image, options, {NETWORK: REGISTRY_NAMES})


def doubles_service(layout: Layout, image: str, keys_file: Path) -> Service:
    """The provider stand-ins at http://providers.test:8080, and a stand-in of Ollama's model registry."""
    # The hash makes other keys another container.
    digest = hashlib.sha256(keys_file.read_bytes()).hexdigest()[:12]
    options = ("--env-file", str(keys_file), "--label", f"keys={digest}", *_tls_mount(layout))
    aliases = {NETWORK: (PROVIDERS_NAME, MODEL_REGISTRY_NAME), OPEN_NETWORK: (PROVIDERS_NAME,)}
    return Service(DOUBLES, image, options, aliases)


def ensure_networks() -> None:
    """Makes the bed's networks. Raises CommandFailed."""
    there = set(docker_lines("network", "ls", "--filter", OWNER_FILTER, "--format", "{{.Name}}"))
    for name, subnet in SUBNETS.items():
        if name not in there:
            docker("network", "create", "--label", OWNER_LABEL, "--subnet", subnet, name)


def ensure_volume(name: str, *labels: str) -> None:
    """Makes a volume that belongs to the bed; one that is there stays as it is. Raises CommandFailed."""
    options = [part for label in (OWNER_LABEL, *labels) for part in ("--label", label)]
    docker("volume", "create", *options, name)


def ensure_service(service: Service) -> bool:
    """Makes the container run as described; returns whether it had to be made or started. Raises CommandFailed."""
    state = service_state(service.name)
    if state == ("running", service.fingerprint):
        return False
    if state is not None and state[1] == service.fingerprint:
        docker("start", service.name)
        return True
    if state is not None:
        docker("rm", "--force", "--volumes", service.name)
    home, *others = service.aliases
    docker(
        *("run", "--detach", "--name", service.name, "--pull", "never", "--restart", "unless-stopped"),
        *("--label", OWNER_LABEL, "--label", f"fingerprint={service.fingerprint}"),
        *("--network", home, *_alias_options(service.aliases[home], "--network-alias")),
        *(*service.options, service.image),
    )
    for network in others:
        docker("network", "connect", *_alias_options(service.aliases[network], "--alias"), network, service.name)
    return True


def service_state(name: str) -> tuple[str, str] | None:
    """State ("running", "exited", ...) and fingerprint of a container, None when there is none."""
    try:
        found = json.loads(docker("container", "inspect", name))[0]
    except CommandFailed as failure:
        if "No such container" in failure.output:
            return None
        raise
    return found["State"]["Status"], found["Config"]["Labels"].get("fingerprint", "")


def _alias_options(aliases: tuple[str, ...], option: str) -> list[str]:
    return [part for alias in aliases for part in (option, alias)]


def _tls_mount(layout: Layout) -> tuple[str, ...]:
    # The hash makes a new certificate a new container.
    digest = hashlib.sha256((layout.tls / "server.pem").read_bytes()).hexdigest()[:12]
    return ("--volume", f"{layout.tls}:/tls:ro", "--label", f"certificate={digest}")
