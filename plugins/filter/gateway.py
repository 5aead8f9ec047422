"""Filters over what the running gateway answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..module_utils.gateway.proof_lines import proof_lines
from ..module_utils.gateway.receipt import receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def gateway_receipt(
    result: Mapping[str, Any],
    host: str,
    address: str,
    port: int,
    authorization_file: str,
    scheme: str = "http",
    hosts: Sequence[str] = (),
    ca_file: str = "",
    fetched_ca: str = "",
) -> str:
    """Return the receipt for a result of the module ``gateway_check``."""
    text = receipt(
        result["models"],
        host,
        address,
        port,
        authorization_file,
        scheme=scheme,
        hosts=hosts,
        ca_file=ca_file,
        fetched_ca=fetched_ca,
    )
    return "\n".join([text, *proof_lines(result)])


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"gateway_receipt": gateway_receipt}
