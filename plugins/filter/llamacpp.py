"""The filter that puts the containers of llama.cpp together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from ..module_utils.llamacpp import containers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def llamacpp_containers(
    instances: Sequence[Mapping[str, Any]],
    image: str,
    gpu: Mapping[str, Any],
    uid: int,
    memory_limit: str,
    load_seconds: int,
) -> dict[str, dict[str, Any]]:
    """Return what is particular to each container, by its name on the network.

    Raises:
        AnsibleFilterError: the image for these GPUs is not known.
    """
    try:
        return containers.llamacpp_containers(instances, image, gpu, int(uid), memory_limit, int(load_seconds))
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter of this file, for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"llamacpp_containers": llamacpp_containers}
