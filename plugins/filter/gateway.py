"""Filters over what the running gateway answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..module_utils.gateway.receipt import receipt


def gateway_receipt(result: Mapping[str, Any], host: str, address: str, port: int, authorization_file: str) -> str:
    """Return the receipt for a result of the module ``gateway_check``."""
    return receipt(result["models"], host, address, port, authorization_file)


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"gateway_receipt": gateway_receipt}
