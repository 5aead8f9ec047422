#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: which changes of the gateway belong together, for going back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: generation
short_description: Tell which changes of the gateway belong together
description:
  - All changes since the gateway was last verified are one generation. Its number stands in the file C(.generation) of
    O(deploy_dir).
  - Each project notes in which generation its last good state was replaced (M(homelab.llm_gateway.project_files)).
options:
  deploy_dir:
    description: Folder that holds the folders of all projects.
    type: path
    required: true
  state:
    description:
      - V(verified) says that the gateway, as it is, was verified. A change after it begins a new generation.
        It writes nothing when nothing was changed since, and never counts as a change.
      - V(asked) changes nothing, and tells what going back would undo.
    type: str
    choices: [verified, asked]
    default: asked
notes:
  - Supports C(check_mode).
author:
  - LLM gateway authors (@homelab)
"""

EXAMPLES = r"""
- name: Keep what was verified as the state to go back to
  homelab.llm_gateway.generation:
    deploy_dir: /opt/llm-gateway
    state: verified

- name: See what going back would undo
  homelab.llm_gateway.generation:
    deploy_dir: /opt/llm-gateway
  register: last_change
"""

RETURN = r"""
undo:
  description:
    - The generation that going back undoes; null when there is nothing to go back to.
    - 0 when a run was killed in the middle of a change. Going back then undoes that alone.
  returned: success
  type: int
deployed:
  description: The projects that are there.
  returned: success
  type: list
  elements: str
projects:
  description: The projects that go back.
  returned: success
  type: list
  elements: str
  sample: [litellm]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.project import files, generations

UNDO_WHAT_IS_UNFINISHED = 0


def what_goes_back(projects: dict[str, str]) -> dict[str, Any]:
    """Return which generation is undone and which projects go back; ``projects`` are folders by name."""
    unfinished = [name for name, path in projects.items() if files.has_state_before(path)]
    if unfinished:
        return {"undo": UNDO_WHAT_IS_UNFINISHED, "projects": unfinished}
    replaced = {name: files.replaced_in(path) for name, path in projects.items() if files.can_go_back(path)}
    last = max((number for number in replaced.values() if number is not None), default=None)
    return {"undo": last, "projects": [name for name, number in replaced.items() if number == last]}


def begin_next(deploy_dir: str, projects: dict[str, str]) -> None:
    """Note that the gateway was verified as it is: what is changed from here on is another generation."""
    present = generations.current(deploy_dir)
    replaced = [number for number in map(files.replaced_in, projects.values()) if number is not None]
    number = generations.next_number(present, replaced)
    if number != present:
        generations.write(deploy_dir, generations.GENERATION, number)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "deploy_dir": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["verified", "asked"], "default": "asked"},
        },
        supports_check_mode=True,
    )
    deploy_dir = module.params["deploy_dir"]
    try:
        with os.scandir(deploy_dir) as entries:
            projects = {entry.name: entry.path for entry in entries if entry.is_dir(follow_symlinks=False)}
        if module.params["state"] == "verified" and not module.check_mode:
            begin_next(deploy_dir, projects)
        generations.current(deploy_dir)
        result = what_goes_back(dict(sorted(projects.items())))
    except FileNotFoundError:
        module.fail_json(msg=f"deploy_dir: there is no {deploy_dir}, so no gateway on this box: run make apply first")
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    deployed = [name for name, path in sorted(projects.items()) if files.was_deployed(path)]
    module.exit_json(changed=False, deployed=deployed, **result)


if __name__ == "__main__":
    main()
