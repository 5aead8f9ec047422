#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE)
"""Tell which GPUs a box has, whether Ollama can use them, and why not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Tell which GPUs a box has, whether Ollama can use them, and why not
description:
  - Finds GPUs by NVIDIA, AMD and Intel from what the kernel tells in C(/sys), C(/proc) and C(/dev), and says where
    Ollama should run.
  - Installs nothing, loads no driver, and needs no C(lspci). The one command it runs is C(nvidia-smi), which comes with
    the driver, for the memory and the compute capability of the cards.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  mode:
    description:
      - V(auto) chooses what there is, NVIDIA before AMD. Intel's GPUs are used only when V(vulkan) is asked for.
      - V(required) chooses the same way, and RV(gpu.verdict) tells when only the CPU is left.
      - Any other value is taken whatever is there; RV(gpu.verdict) then tells whether it can be had.
    type: str
    choices: [auto, nvidia, rocm, vulkan, cpu, required]
    default: auto
  root:
    description:
      - The folder below which the box's files are read. With any other than C(/) they are the recorded ones of another
        box; what C(nvidia-smi) said there is in C(nvidia-smi.csv), or in C(nvidia-smi.err) when it failed.
    type: path
    default: /
  answer_timeout:
    description: Longest wait for C(nvidia-smi), in seconds.
    type: int
    default: 10
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Look for GPUs
  homelab.llm_gateway.gpu_facts:
  register: looked

- name: Say where Ollama would run
  ansible.builtin.debug:
    msg: "{{ looked.gpu.verdict.mode }}: {{ looked.gpu.verdict.reason }}"
"""

RETURN = r"""
gpu:
  description: What was found. plugins/module_utils/gpu/shapes.py describes every key.
  returned: always
  type: dict
  contains:
    place:
      description:
        - Where the system runs, in the keys arch (amd64, arm64, another), container, virtual_machine, wsl and jetpack.
      type: dict
    gpus:
      description:
        - For each GPU vendor, name, address, uuid, driver, driver_version, memory_bytes (null when unknown),
          integrated, gfx_target, compute_capability and nodes.
        - The key libraries names those of Ollama's that can use it (cuda, rocm, vulkan), and problem says why none can.
      type: list
      elements: dict
    groups:
      description: Numbers of the groups to which the device nodes of GPUs by AMD and Intel belong.
      type: list
      elements: int
    verdict:
      description:
        - Where Ollama should run, as mode (nvidia, rocm, vulkan, cpu) with its reason.
        - The key problem says why the mode that was asked for cannot be had, and is empty when it can.
        - The key used holds the places, in the list of GPUs, of those that are used.
      type: dict
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.docker import Answer, Runner, command_runner
from ..module_utils.gpu.facts import gpu_facts
from ..module_utils.gpu.tree import Tree
from ..module_utils.gpu.verdict import AUTO, MODES

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDED_SMI = "nvidia-smi.csv"
RECORDED_SMI_ERROR = "nvidia-smi.err"


def runner(root: Path, timeout_s: float) -> Runner:
    """Return what runs nvidia-smi: on this box, or as it was recorded on another."""
    if root == Path("/"):
        return command_runner(timeout_s)

    def recorded(_command: Sequence[str]) -> Answer:
        out, err = (Tree(root).text(name) for name in (RECORDED_SMI, RECORDED_SMI_ERROR))
        return Answer(1 if err else 0 if out else 127, out, err)

    return recorded


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": list(MODES), "default": AUTO},
            "root": {"type": "path", "default": "/"},
            "answer_timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    root = Path(module.params["root"])
    facts = gpu_facts(Tree(root), runner(root, module.params["answer_timeout"]), module.params["mode"])
    module.exit_json(changed=False, gpu=facts)


if __name__ == "__main__":
    main()
