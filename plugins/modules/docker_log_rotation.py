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

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.daemon import (
    DaemonConfigError,
    log_part,
    parse_daemon_json,
    render_daemon_json,
    with_log_rotation,
)


def write(module: AnsibleModule, path: Path, text: str) -> None:
    """Replace the file in one step, keeping its mode and owner; a new one is 0644."""
    existed = path.exists()
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir, delete=False) as new:
        new.write(text)
    module.atomic_move(new.name, str(path))
    if not existed:
        path.chmod(0o644)


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
    path = Path(module.params["path"])
    try:
        before = parse_daemon_json(path.read_text(encoding="utf-8") if path.exists() else "", str(path))
    except DaemonConfigError as error:
        module.fail_json(msg=str(error))
    after = with_log_rotation(before, module.params["max_size"], module.params["max_file"])
    if after != before and not module.check_mode:
        write(module, path, render_daemon_json(after))
    diff = {
        "before_header": f"{path} (what concerns logging)",
        "after_header": f"{path} (what concerns logging)",
        "before": render_daemon_json(log_part(before)),
        "after": render_daemon_json(log_part(after)),
    }
    module.exit_json(changed=after != before, log=log_part(after), diff=diff)


if __name__ == "__main__":
    main()
