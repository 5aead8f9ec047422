#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE)
"""Tell whether containers of a box can get NVIDIA's GPUs, and what is missing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_toolkit_facts
short_description: Tell whether containers of a box can get NVIDIA's GPUs
description:
  - Looks for NVIDIA's Container Toolkit, for the devices that it offers by CDI, and whether Docker reads those.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  answer_timeout:
    description: Longest wait for one command, in seconds.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Look at NVIDIA's Container Toolkit
  homelab.llm_gateway.nvidia_toolkit_facts:
  register: looked
"""

RETURN = r"""
toolkit:
  description: What was found.
  returned: always
  type: dict
  contains:
    os:
      description: The operating system, as M(homelab.llm_gateway.box_facts) tells it.
      type: dict
    version:
      description: Version of the toolkit; empty when it is missing.
      type: str
    devices:
      description: Names that containers may ask for, such as V(nvidia.com/gpu=all).
      type: list
      elements: str
    spec_written:
      description: Whether C(/etc/cdi/nvidia.yaml) is there, which stays over a reboot.
      type: bool
    spec_driver:
      description: Version of the driver for which it was written; empty when unknown.
      type: str
    repository_known:
      description: Whether apt has NVIDIA's repository already, under any name.
      type: bool
    engine_version:
      description: Version of Docker Engine; empty when it does not answer.
      type: str
    cdi:
      description: Whether Docker reads them; null when it does not answer.
      type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.docker import command_runner
from ..module_utils.gpu.toolkit import read_toolkit
from ..module_utils.gpu.tree import Tree


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec={"answer_timeout": {"type": "int", "default": 30}}, supports_check_mode=True)
    toolkit = read_toolkit(Tree(Path("/")), command_runner(module.params["answer_timeout"]))
    module.exit_json(changed=False, toolkit=toolkit)


if __name__ == "__main__":
    main()
