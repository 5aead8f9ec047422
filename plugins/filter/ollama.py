"""The environment of Ollama's server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..module_utils.ollama.environment import server_environment

if TYPE_CHECKING:
    from collections.abc import Mapping


class FilterModule:
    """The filter homelab.llm_gateway.ollama_environment."""

    def filters(self) -> Mapping[str, Callable[..., Any]]:
        """The filter by name."""
        return {"ollama_environment": server_environment}
