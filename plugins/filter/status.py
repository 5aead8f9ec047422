"""Filter over the state of the running gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..module_utils.gateway.status_page import status_page

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"gateway_status_page": status_page}
