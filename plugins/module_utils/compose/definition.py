"""The Compose file of a project, from what is particular to its containers and what holds for all of them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Compose does not notice a changed file behind a mount; a changed label makes it recreate the container that reads it.
FILES_LABEL = "llm-gateway.files-sha256"

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
    """Return the SHA-256 over everything the containers read at start: names and contents of all files."""
    contents = {name: entry["content"] for name, entry in {**files, **secrets}.items()}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def compose_definition(
    containers: Mapping[str, Mapping[str, Any]], project: str, network: str, digest: str
) -> dict[str, Any]:
    """Return the Compose file of one project.

    Args:
        containers: what is particular to each container, by its name on the network.
        project: name of the Compose project.
        network: the external network that all projects share.
        digest: hash of the files that the containers read.

    Raises:
        ValueError: a container lacks a limit, a user, an image or a health check.
    """
    services = {}
    for name, particular in containers.items():
        missing = [key for key in REQUIRED if key not in particular]
        if missing:
            raise ValueError(f"container {name} of project {project} has no {', '.join(missing)}")
        services[name] = {
            "container_name": f"{CONTAINER_PREFIX}{name}",
            **HARDENING,
            **particular,
            "networks": [network],
            "labels": {FILES_LABEL: digest},
        }
    return {"name": project, "services": services, "networks": {network: {"external": True}}}
