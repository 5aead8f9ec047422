"""Filters that put a Compose project together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from ..module_utils.compose import definition
from ..module_utils.compose.log_end import log_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def compose_definition(
    containers: Mapping[str, Mapping[str, Any]],
    project: str,
    network: str,
    files: Mapping[str, Mapping[str, Any]],
    secrets: Mapping[str, Mapping[str, Any]],
    update: str = definition.RECREATE,
) -> dict[str, Any]:
    """Return the Compose file of a project as one structure.

    Raises:
        AnsibleFilterError: a container lacks what every container must have.
    """
    try:
        digest = definition.files_digest(files, secrets)
        return definition.compose_definition(containers, project, network, digest, update)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"compose_definition": compose_definition, "log_end": log_end}
