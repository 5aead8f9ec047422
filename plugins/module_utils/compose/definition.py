"""The Compose file of a project, from what is particular to its containers and what holds for all of them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Compose does not notice a changed file behind a mount; a changed label makes it recreate the container that reads it.
FILES_LABEL = "llm-gateway.files-sha256"

# Compose stops the old container and starts the new one in its place.
RECREATE = "recreate"
# A changed container is another service, so that it can start beside the old one: the names of services carry a digest.
BESIDE = "beside"
# The process reads changed files anew by itself, so they do not make another container.
RELOAD = "reload"
UPDATES = (RECREATE, BESIDE, RELOAD)

# Names on the box are shared with everything else that runs there.
CONTAINER_PREFIX = "llm-gateway-"

HARDENING: dict[str, Any] = {
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}
# A container without these would be unbounded, so leaving one out is a mistake of the role.
REQUIRED = ("image", "user", "healthcheck", "mem_limit", "pids_limit")


def files_digest(files: Mapping[str, Mapping[str, Any]], secrets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the SHA-256 over everything the containers read at start: names and contents of all files in folders.

    Only folders are mounted, so no container reads a file that lies beside compose.yml.
    """
    contents = {name: entry["content"] for name, entry in {**files, **secrets}.items() if "/" in name}
    return _digest(contents)


def compose_definition(
    containers: Mapping[str, Mapping[str, Any]], project: str, network: str, digest: str, update: str = RECREATE
) -> dict[str, Any]:
    """Return the Compose file of one project.

    Args:
        containers: what is particular to each container, by its name on the network.
        project: name of the Compose project.
        network: the external network that all projects share.
        digest: hash of the files that the containers read.
        update: what happens to a container when something of it changes, one of ``UPDATES``.

    Raises:
        ValueError: a container lacks a limit, a user, an image or a health check.
    """
    services = {}
    for name, particular in containers.items():
        missing = [key for key in REQUIRED if key not in particular]
        if missing:
            raise ValueError(f"container {name} of project {project} has no {', '.join(missing)}")
        service = {
            "container_name": f"{CONTAINER_PREFIX}{name}",
            **HARDENING,
            **particular,
            "networks": {network: {"aliases": [name]}} if update == BESIDE else [network],
            **({} if update == RELOAD else {"labels": {FILES_LABEL: digest}}),
        }
        services[f"{name}-{_digest(service)[:8]}" if update == BESIDE else name] = service
    return {"name": project, "services": services, "networks": {network: {"external": True}}}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
