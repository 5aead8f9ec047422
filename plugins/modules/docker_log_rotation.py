#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE)
"""Add log rotation to Docker's daemon.json."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_log_rotation
short_description: Add log rotation to Docker's daemon.json
description:
  - Adds V(log-driver) and the options V(max-size) and V(max-file) where the file does not set them.
    What the user wrote there wins, and a logging driver that does not know these options is left alone.
  - Neither starts nor restarts Docker; it reads the file when it starts.
  - Shows only what concerns logging, for the file may hold the password of a proxy.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  path:
    description: The file. It and its directory are created when they are missing.
    type: path
    default: /etc/docker/daemon.json
  max_size:
    description: Size at which a container's log file is put aside, in Docker's words such as V(10m).
    type: str
    required: true
  max_file:
    description: Number of log files kept for each container.
    type: int
    required: true
attributes:
  check_mode:
    support: full
    description: Reports what would change.
  diff_mode:
    support: full
    description: Shows the keys that concern logging.
"""

EXAMPLES = r"""
- name: Rotate the logs of containers
  homelab.llm_gateway.docker_log_rotation:
    max_size: 10m
    max_file: 3
"""

RETURN = r"""
log:
  description: The keys log-driver and log-opts as they stand now, or would.
  returned: success
  type: dict
"""

from functools import partial
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.daemon import log_part, with_log_rotation
from ..module_utils.box.daemon_file import edit


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "max_size": {"type": "str", "required": True},
            "max_file": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    change = partial(with_log_rotation, max_size=module.params["max_size"], max_file=module.params["max_file"])
    log, result = edit(module, Path(module.params["path"]), change, log_part, "what concerns logging")
    module.exit_json(log=log, **result)


if __name__ == "__main__":
    main()
