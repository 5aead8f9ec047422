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
  description: The generation that going back undoes; null when there is nothing to go back to.
  returned: success
  type: int
projects:
  description: The projects that were changed in it.
  returned: success
  type: list
  elements: str
  sample: [litellm]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.project import files, generations


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
        present = generations.current(deploy_dir)
        replaced = generations.replaced_in(deploy_dir, files.PREVIOUS_GENERATION)
        if module.params["state"] == "verified" and not module.check_mode:
            number = generations.next_number(present, replaced.values())
            if number != present:
                generations.write(deploy_dir, generations.GENERATION, number)
    except FileNotFoundError:
        module.fail_json(
            msg=f"deploy_dir: {deploy_dir} is not there, so no gateway runs on this box: run make apply first"
        )
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    undo = max(replaced.values(), default=None)
    module.exit_json(
        changed=False, undo=undo, projects=[project for project, number in replaced.items() if number == undo]
    )


if __name__ == "__main__":
    main()
