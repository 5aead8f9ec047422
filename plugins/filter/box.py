"""What stands in the way on a box, and what Docker needs there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..module_utils.box.fit import memory_lines
from ..module_utils.box.problems import box_problems, box_warnings
from ..module_utils.box.suggest import suggestion
from ..module_utils.box.todo import docker_todo, pull_problems

if TYPE_CHECKING:
    from collections.abc import Mapping


class FilterModule:
    """The filters of homelab.llm_gateway over what is known of a box."""

    def filters(self) -> Mapping[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "box_memory_lines": memory_lines,
            "box_problems": box_problems,
            "box_suggestion": suggestion,
            "box_warnings": box_warnings,
            "docker_todo": docker_todo,
            "pull_problems": pull_problems,
        }
