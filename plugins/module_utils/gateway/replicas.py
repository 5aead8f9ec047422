"""Where each of LiteLLM's replicas is reached from its box, as Docker tells."""

from __future__ import annotations

import json

PORT = 4000


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
    for number in range(1, count + 1):
        container_name = f"llm-gateway-litellm-{number}"
        address = addresses.get(container_name, "")
        found.append(
            {
                "name": f"litellm-{number}",
                "url": f"http://{address}:{PORT}" if address else "",
                "log_hint": f"docker logs {container_name}",
            }
        )
    return found
