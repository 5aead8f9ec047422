"""Where each of LiteLLM's replicas is reached from its box, as Docker tells."""

from __future__ import annotations

import json

PORT = 4000


def container_names(count: int) -> list[str]:
    """Return the names of the replicas' containers."""
    return [f"llm-gateway-litellm-{number}" for number in range(1, count + 1)]


def replicas(inspected: str, count: int, network: str) -> list[dict[str, str]]:
    """Return name, address and log command of each replica; the address of one that does not run is empty.

    Args:
        inspected: what ``docker inspect`` printed of the replicas' containers; those that are gone are not in it.
        count: how many replicas there should be.
        network: the Docker network on which they are asked.
    """
    addresses = {}
    for container in json.loads(inspected or "[]"):
        endpoint = container["NetworkSettings"]["Networks"].get(network, {})
        addresses[container["Name"].lstrip("/")] = endpoint.get("IPAddress", "")
    found = []
    for number, container_name in enumerate(container_names(count), start=1):
        address = addresses.get(container_name, "")
        found.append(
            {
                "name": f"litellm-{number}",
                "url": f"http://{address}:{PORT}" if address else "",
                "log_hint": f"docker logs {container_name}",
            }
        )
    return found
