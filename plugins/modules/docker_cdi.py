#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE)
"""Switch devices by CDI on in Docker's daemon.json."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_cdi
short_description: Switch devices by CDI on in Docker's daemon.json
description:
  - Sets V(cdi) to true under V(features) and keeps every other key and feature, which NVIDIA's own
    C(nvidia-ctk runtime configure) does not.
  - Docker Engine 25 to 28.1 needs it; later ones have it on by themselves.
  - Neither starts nor restarts Docker; it reads the file when it starts.
  - Shows only the features, for the file may hold the password of a proxy.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  path:
    description: The file. It and its directory are created when they are missing.
    type: path
    default: /etc/docker/daemon.json
attributes:
  check_mode:
    support: full
    description: Reports what would change.
  diff_mode:
    support: full
    description: Shows the features.
"""

EXAMPLES = r"""
- name: Let containers have GPUs by CDI
  homelab.llm_gateway.docker_cdi:
"""

RETURN = r"""
features:
  description: The features as they stand now, or would.
  returned: success
  type: dict
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.daemon import with_cdi
from ..module_utils.box.daemon_file import edit

if TYPE_CHECKING:
    from collections.abc import Mapping


def features(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part that is shown."""
    return {"features": config.get("features", {})}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "default": "/etc/docker/daemon.json"}}, supports_check_mode=True
    )
    shown, result = edit(module, Path(module.params["path"]), with_cdi, features, "its features")
    module.exit_json(features=shown["features"], **result)


if __name__ == "__main__":
    main()
