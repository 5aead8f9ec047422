"""The addresses of the replicas, from what Docker tells of their containers."""

from __future__ import annotations

import json
from typing import Any

from plugins.module_utils.gateway.replicas import replicas


def inspected(**addresses: str) -> str:
    """What ``docker inspect`` prints of these containers, as far as it is read."""
    containers: list[dict[str, Any]] = [
        {
            "Name": f"/llm-gateway-{name.replace('_', '-')}",
            "NetworkSettings": {"Networks": {"llm-gateway": {"IPAddress": address}}},
        }
        for name, address in addresses.items()
    ]
    return json.dumps(containers)


def test_each_replica_has_its_own_address() -> None:
    found = replicas(inspected(litellm_2="172.18.0.6", litellm_1="172.18.0.5"), 2, "llm-gateway")
    assert found == [
        {"name": "litellm-1", "url": "http://172.18.0.5:4000", "log_hint": "docker logs llm-gateway-litellm-1"},
        {"name": "litellm-2", "url": "http://172.18.0.6:4000", "log_hint": "docker logs llm-gateway-litellm-2"},
    ]


def test_one_that_is_stopped_or_gone_has_no_address() -> None:
    found = replicas(inspected(litellm_1="", litellm_2="172.18.0.6"), 3, "llm-gateway")
    assert [replica["url"] for replica in found] == ["", "http://172.18.0.6:4000", ""]
    assert [replica["url"] for replica in replicas("", 2, "llm-gateway")] == ["", ""]


def test_one_on_another_network_has_no_address() -> None:
    assert replicas(inspected(litellm_1="172.18.0.5"), 1, "mine")[0]["url"] == ""
