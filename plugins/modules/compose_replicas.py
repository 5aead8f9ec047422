#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: replace the replicas of a Compose project without an interruption."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_replicas
short_description: Replace the replicas of a Compose project without an interruption
description:
  - Starts changed replicas of LiteLLM beside the old ones, waits until they are ready and asks them a question. A
    second call stops the old ones, which finish the answers they are giving.
  - A changed replica is one whose service in the Compose file has another name, which carries a digest of all it is
    made of.
  - Between the two calls both old and new ones answer under the same name on the network.
  - Nothing that answers is stopped before what replaces it has answered.
options:
  project_src:
    description: Folder of the Compose project.
    type: path
    required: true
  state:
    description:
      - V(beside) starts what the Compose file holds and does not run, and fails when that does not answer.
      - V(alone) stops and removes what the Compose file does not hold any more, and gives the others their right names.
    type: str
    choices: [beside, alone]
    required: true
  network:
    description: The Docker network on which the replicas are asked.
    type: str
    required: true
  port:
    description: Port on which a replica listens.
    type: int
    default: 4000
  ready_path:
    description: What a replica answers with status 200 when it is ready.
    type: str
    default: /health/readiness
  ready_timeout:
    description: Seconds until every new replica must be ready.
    type: float
    default: 180
  questions_file:
    description:
      - File in the project's folder with the catalog's models as JSON. Each new replica must list them, and one that
        costs nothing must answer. Empty asks nothing.
    type: str
    default: ""
  key_file:
    description: File in the project's folder with the header that carries a key that may use every model.
    type: str
    default: ""
  memory_mb:
    description:
      - Memory that one replica needs, in MB. With less left nothing is started beside running ones. 0 does not look.
    type: int
    default: 0
notes:
  - Supports C(check_mode).
author:
  - LLM gateway authors (@homelab)
"""

EXAMPLES = r"""
- name: Start what changed beside what runs, and ask it
  homelab.llm_gateway.compose_replicas:
    project_src: /opt/llm-gateway/litellm
    state: beside
    network: llm-gateway
    questions_file: config/questions.json
    key_file: secrets/authorization.header

- name: Let the old ones finish, and remove them
  homelab.llm_gateway.compose_replicas:
    project_src: /opt/llm-gateway/litellm
    state: alone
    network: llm-gateway
"""

RETURN = r"""
started:
  description: Services that were started.
  returned: success
  type: list
  elements: str
  sample: [litellm-1-3fa9c2d1]
removed:
  description: Names of the containers that were removed.
  returned: success
  type: list
  elements: str
seconds:
  description: How long each step took, and each service until it was ready.
  returned: success
  type: dict
  sample: {"start": 0.8, "ready": 6.3, "questions": 0.4}
"""

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.compose import replicas
from ..module_utils.gateway import first_question
from ..module_utils.gateway.asking import Gateway
from ..module_utils.project import files as project_files


def beside(module: AnsibleModule, project: replicas.Replicas) -> dict[str, Any]:
    """Start what is missing, wait for it and ask it; return the module's result. Raises RollFailed.

    While something replaced is still there, all that is to take over is waited for and asked: an earlier run may have
    started it and been killed before it could.
    """
    params = module.params
    found = project.look()
    old = replicas.replaced(project.project, found)
    new = replicas.missing(project.project, found)
    result = {"changed": bool(new), "started": new, "removed": [], "seconds": {}}
    taking_over = list(project.project.services) if old else new
    if not taking_over or module.check_mode:
        return result
    if new and params["memory_mb"] and any(container.running for container in old):
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        problem = replicas.memory_problem(params["memory_mb"], len(new), meminfo)
        if problem:
            raise replicas.RollFailed(problem)
    begin = time.monotonic()
    if new:
        project.start(new)
    started = time.monotonic()
    ready = project.wait(taking_over, lambda address: is_ready(params, address), params["ready_timeout"])
    asked = time.monotonic()
    if params["questions_file"]:
        ask(module, project, taking_over)
    seconds = {"start": started - begin, "ready": asked - started, "questions": time.monotonic() - asked, **ready}
    return {**result, "seconds": replicas.steps_of(seconds)}


def is_ready(params: dict[str, Any], address: str) -> bool:
    """Whether the replica at an address says that it is ready."""
    return first_question.ready(f"http://{address}:{params['port']}", params["ready_path"])


def ask(module: AnsibleModule, project: replicas.Replicas, services: list[str]) -> None:
    """Ask each of these services a question. Raises RollFailed."""
    folder = Path(module.params["project_src"])
    found = project.look()
    old = [container for container in replicas.replaced(project.project, found) if container.running]
    for container in found:
        if container.service not in services:
            continue
        replica, questions = at(module, container, folder)
        problem = first_question.list_problem(replica, questions)
        if problem:
            raise replicas.RollFailed(f"{container.name} is ready, but does not answer. {problem}")
        silence = first_question.silence(replica, questions)
        if silence and any(
            not first_question.silence(*at(module, one, folder / project_files.UNFINISHED)) for one in old
        ):
            raise replicas.RollFailed(f"{container.name} is ready, but does not answer as the old one does. {silence}")
        if silence:
            module.warn(
                f"{container.name}: no model answers that costs nothing, which is not for its being new. {silence}"
            )


def at(module: AnsibleModule, container: replicas.Container, folder: Path) -> tuple[Gateway, list[dict[str, Any]]]:
    """Return a replica at its own address, and its questions; key and questions are those of a project's folder."""
    params = module.params
    questions: list[dict[str, Any]] = json.loads((folder / params["questions_file"]).read_text(encoding="utf-8"))
    key = (folder / params["key_file"]).read_text(encoding="utf-8").split()[-1]
    return Gateway(f"http://{container.address}:{params['port']}", key), questions


def alone(module: AnsibleModule, project: replicas.Replicas) -> dict[str, Any]:
    """Remove what was replaced; return the module's result. Raises RollFailed."""
    old = [container.name for container in replicas.replaced(project.project, project.look())]
    result = {"changed": bool(old), "started": [], "removed": old, "seconds": {}}
    if module.check_mode:
        return result
    begin = time.monotonic()
    project.retire()
    return {**result, "seconds": replicas.steps_of({"drain": time.monotonic() - begin})}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["beside", "alone"], "required": True},
            "network": {"type": "str", "required": True},
            "port": {"type": "int", "default": 4000},
            "ready_path": {"type": "str", "default": "/health/readiness"},
            "ready_timeout": {"type": "float", "default": 180},
            "questions_file": {"type": "str", "default": ""},
            "key_file": {"type": "str", "default": "", "no_log": False},
            "memory_mb": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )

    def run(command: list[str]) -> str:
        status, out, err = module.run_command(command, cwd=module.params["project_src"])
        if status:
            raise replicas.RollFailed(
                f"`{' '.join(command[:3])}` ended with status {status}: {err.strip() or out.strip()}"
            )
        return str(out)

    act = {"beside": beside, "alone": alone}[module.params["state"]]
    try:
        result = act(module, replicas.Replicas(run, module.params["network"]))
    except replicas.RollFailed as error:
        module.fail_json(msg=str(error))
    except (OSError, ValueError, IndexError, KeyError) as error:
        module.fail_json(msg=f"{module.params['project_src']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
