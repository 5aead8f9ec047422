"""Filters over what the running gateway answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..module_utils.gateway.receipt import receipt
from ..module_utils.gateway.replicas import replicas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def gateway_receipt(result: Mapping[str, Any], host: str, address: str, port: int, authorization_file: str) -> str:
    """Return the receipt for a result of the module ``gateway_check``."""
    return receipt(result["models"], host, address, port, authorization_file)


def gateway_replicas(inspected: str, count: int, network: str) -> list[dict[str, str]]:
    """Return the replicas for the module ``gateway_check``, from what ``docker inspect`` printed."""
    return replicas(inspected, count, network)


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"gateway_receipt": gateway_receipt, "gateway_replicas": gateway_replicas}
