"""Filters of the drill: what it runs, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from ..module_utils.drill import containers, plan, table
from ..module_utils.drill.figures import read_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def drill_plan(
    gateway_plan: Mapping[str, Any], keys: Mapping[str, str], limits: Mapping[str, Any], cooldown_seconds: float
) -> dict[str, Any]:
    """Return what a drill runs, from the gateway's plan.

    Raises:
        AnsibleFilterError: the limits are incomplete, or the drill cannot be made for this catalog.
    """
    try:
        read_limits(limits)
        return plan.drill_plan(
            gateway_plan["litellm_config"],
            gateway_plan["gateway_policy"],
            gateway_plan["litellm_environment"],
            keys,
            float(cooldown_seconds),
            gateway_plan["switched_off"],
        )
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


def drill_containers(compose: Mapping[str, Any], config_dir: str, providers: Mapping[str, int]) -> dict[str, Any]:
    """Return the containers of the drill, from the Compose file of the running LiteLLM.

    Raises:
        AnsibleFilterError: it holds no replica.
    """
    try:
        return containers.drill_containers(compose, config_dir, providers)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "drill_plan": drill_plan,
            "drill_containers": drill_containers,
            "drill_table": table.drill_table,
            "drill_failures": table.drill_failures,
        }
