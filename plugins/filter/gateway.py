"""Filters over what the running gateway answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..module_utils.gateway.proof_lines import proof_lines
from ..module_utils.gateway.receipt import receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def gateway_receipt(result: Mapping[str, Any], *address: Any, **trust: Any) -> str:
    """Return the receipt for a result of the module ``gateway_check``; the other arguments are those of ``receipt``."""
    return "\n".join([receipt(result["models"], *address, **trust), *proof_lines(result)])


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"gateway_receipt": gateway_receipt}
