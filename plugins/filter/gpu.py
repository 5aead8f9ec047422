"""What a container gets of a box's GPUs, and what is to be done for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..module_utils.gpu.container import gpu_container
from ..module_utils.gpu.toolkit import toolkit_problems, toolkit_todo

if TYPE_CHECKING:
    from collections.abc import Mapping


class FilterModule:
    """The filters homelab.llm_gateway.gpu_container, nvidia_toolkit_problems and nvidia_toolkit_todo."""

    def filters(self) -> Mapping[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "gpu_container": gpu_container,
            "nvidia_toolkit_problems": toolkit_problems,
            "nvidia_toolkit_todo": toolkit_todo,
        }
