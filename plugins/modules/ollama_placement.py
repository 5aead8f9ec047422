#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE)
"""Tell where Ollama's models really run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_placement
short_description: Tell where Ollama's models really run
description:
  - Loads one model where none is in memory, and reads how much of those in memory lies on GPUs and what the log of
    Ollama's container says about them. A GPU counts as used when neither says otherwise.
  - Where a model should run on a GPU and does not, RV(placement.problem) tells; the module fails with it where
    O(required) is true.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  url:
    description: Address of the Ollama server, such as V(http://172.18.0.3:11434).
    type: str
    required: true
  container:
    description: Name of its container.
    type: str
    required: true
  mode:
    description: Where models should run.
    type: str
    choices: [nvidia, rocm, vulkan, cpu]
    required: true
  models:
    description: Models to try it with. The first one is loaded where none of them is in memory.
    type: list
    elements: str
    default: []
  required:
    description: Whether to fail when they do not run there.
    type: bool
    default: false
  load_timeout:
    description: Longest wait for a model to load, in seconds.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Loads nothing, and judges by what is in memory.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Prove that models run on the GPU
  homelab.llm_gateway.ollama_placement:
    url: http://172.18.0.3:11434
    container: llm-gateway-ollama
    mode: nvidia
    models: ["qwen3.5:2b"]
    required: true
"""

RETURN = r"""
placement:
  description: Where a model runs.
  returned: always
  type: dict
  contains:
    model:
      description: The model in memory with the least on GPUs, by which it was judged; empty when none is loaded.
      type: str
    libraries:
      description: What Ollama found at its start, such as V(CUDA) or V(cpu).
      type: list
      elements: str
    gpu_share:
      description: How much of the model's memory lies on GPUs, from 0 to 1.
      type: float
    offloaded:
      description: Layers of the model that was loaded last which lie on GPUs, and all its layers.
      type: list
      elements: int
    line:
      description: The same in words.
      type: str
    problem:
      description: Why the model does not run where it should, and where to look; empty when it does.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.docker import Runner, command_runner
from ..module_utils.ollama.api import ApiError, Client, Loaded
from ..module_utils.ollama.names import InvalidName, parse
from ..module_utils.ollama.placement import judge, read_log

_DOCKER_S = 30


def log_since_start(run: Runner, container: str) -> str:
    """Return what the container has logged since it was started. Raises ValueError when Docker does not tell."""
    started = run(["docker", "container", "inspect", "--format", "{{.State.StartedAt}}", container])
    if started.code == 0:
        logs = run(["docker", "logs", "--since", started.out.strip(), container])
        if logs.code == 0:
            return logs.out + logs.err
        started = logs
    raise ValueError(f"Docker does not tell about the container {container}: {started.err.strip()}")


def loaded_models(client: Client, models: list[str], timeout_s: float, *, may_load: bool) -> list[Loaded]:
    """Return those of the models that are in memory, after loading the first one where none is and it may be.

    Raises Unreachable or OllamaError.
    """
    keys = [parse(name).key for name in models]

    def found() -> list[Loaded]:
        return [entry for entry in client.loaded() if parse(entry.name).key in keys]

    entries = found()
    if not entries and models and may_load:
        client.load(models[0], timeout_s)
        entries = found()
    return entries


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "container": {"type": "str", "required": True},
            "mode": {"type": "str", "choices": ["nvidia", "rocm", "vulkan", "cpu"], "required": True},
            "models": {"type": "list", "elements": "str", "default": []},
            "required": {"type": "bool", "default": False},
            "load_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params = module.params
    problem = ""
    try:
        client = Client(params["url"])
        try:
            loaded = loaded_models(client, params["models"], params["load_timeout"], may_load=not module.check_mode)
        except ApiError as error:
            # Whether a model loads is no question of its own here: what asks it falls back.
            loaded, problem = [], f"Where models run was not tried: {params['models'][0]} does not load. {error}"
        signs = read_log(log_since_start(command_runner(_DOCKER_S), params["container"]))
    except (InvalidName, ValueError) as error:
        module.fail_json(msg=f"Where models run cannot be told. {error}")
    placement = judge(params["mode"], signs, loaded)
    placement["problem"] = problem or placement["problem"]
    if placement["problem"] and params["required"]:
        module.fail_json(msg=placement["problem"], placement=placement)
    module.exit_json(changed=False, placement=placement)


if __name__ == "__main__":
    main()
