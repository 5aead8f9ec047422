#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: let one thing fail and measure what clients of the gateway see."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_drill
short_description: Let one thing fail and measure what clients of the gateway see
description:
  - Runs on the box. It asks a replica of LiteLLM that is there for the drill alone. That has a stand-in in place of
    every hosted provider, so no provider is touched and nothing costs money.
  - The cases V(ollama_stopped), V(redis_stopped), V(redis_hung) and V(load) stop, pause or restart the gateway's own
    containers of Ollama and Redis for some seconds.
  - Whatever happens, what was stopped is put back. A process of its own does that when this module is killed.
  - A limit that is broken does not fail the module; it stands in the result.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  state:
    description:
      - V(drilled) runs a case.
      - V(restored) unpauses and starts O(redis) and O(ollama) and removes what the drill left in Redis.
    type: str
    choices: [drilled, restored]
    default: drilled
  case:
    description: One entry of the cases that the filter P(homelab.llm_gateway.drill_plan#filter) returns.
    type: dict
  keys:
    description: The key of each client of the drill, and of C(admin).
    type: dict
  limits:
    description: What may be measured at most, by the names of C(llm_drill_limits).
    type: dict
  cooldown_seconds:
    description: How long a breaker of the drill's replica stays open.
    type: float
    default: 10
  load_seconds:
    description: Length of the steady load.
    type: float
    default: 60
  load_rate:
    description: Requests a second under steady load.
    type: float
    default: 20
  network:
    description: The network on which the containers are.
    type: str
    default: llm-gateway
  replica:
    description: Container of the drill's replica.
    type: str
    default: llm-gateway-drill
  backend:
    description: Container of the stand-in for providers.
    type: str
    default: llm-gateway-drill-backend
  redis:
    description: Redis's container.
    type: str
    default: llm-gateway-redis
  ollama:
    description: Ollama's container.
    type: str
    default: llm-gateway-ollama
attributes:
  check_mode:
    support: full
    description: Does nothing then, as each case stops something or asks questions.
  diff_mode:
    support: none
    description: What it changes it puts back.
"""

EXAMPLES = r"""
- name: Let a provider hang
  homelab.llm_gateway.gateway_drill:
    case: {name: hang, title: a provider hangs}
    keys: "{{ keys }}"
    limits: "{{ llm_drill_limits }}"

- name: Put everything back
  homelab.llm_gateway.gateway_drill:
    state: restored
"""

RETURN = r"""
result:
  description: What the case came to. Times are seconds.
  returned: when a case was run
  type: dict
  contains:
    case:
      description: The case.
      type: str
    title:
      description: The case in words.
      type: str
    seen:
      description: What clients saw, with how often.
      type: dict
    healthy_seconds:
      description: Median time of an answer before the fault.
      type: float
    first_seconds:
      description: Times of the first requests after the fault.
      type: list
      elements: float
    open_seconds:
      description: Median time once the breaker was open.
      type: float
    recovery_seconds:
      description: From the end of the fault until who had failed answered again.
      type: float
    checks:
      description: Figures with their limits.
      type: list
      elements: dict
    problems:
      description: What was not as it must be, limits apart.
      type: list
      elements: str
    notes:
      description: More that was measured.
      type: list
      elements: str
    failures:
      description: Problems and broken limits, a sentence each.
      type: list
      elements: str
    passed:
      description: Whether nothing was wrong.
      type: bool
restored:
  description: The containers that had to be put back.
  returned: for V(state=restored)
  type: list
  elements: str
"""

import signal
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.drill import asking, cases, engine, figures, plan

REPLICA_PORT = 4000


class Interrupted(Exception):
    """Somebody told the module to end."""


def end_tidily(number: int, _frame: Any) -> None:
    """Leave by the way on which everything is put back.

    Raises:
        Interrupted: always.
    """
    for also in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        # A second one must not break into the tidying.
        signal.signal(also, signal.SIG_IGN)
    raise Interrupted(f"the drill was ended by {signal.Signals(number).name}; what it had stopped is back")


def drill(params: dict[str, Any]) -> dict[str, Any]:
    """Run one case and return its result as plain data.

    Raises:
        ValueError: the limits or the keys are incomplete.
        engine.EngineFailed: Docker did not do what it was told.
        asking.NotReached: the drill's own containers do not answer.
    """
    limits = figures.read_limits(params["limits"])
    missing = [owner for owner in plan.KEY_OWNERS if owner not in (params["keys"] or {})]
    if missing:
        raise ValueError(f"keys: no key for {', '.join(missing)}")
    docker = engine.Engine()
    replica, backend = (docker.address(params[name], params["network"]) for name in ("replica", "backend"))
    running = cases.Drill(
        replica=asking.Replica(replica, REPLICA_PORT, params["keys"]),
        providers=asking.StandIn(backend, plan.CONTROL_PORT),
        engine=docker,
        limits=limits,
        cooldown_seconds=params["cooldown_seconds"],
        redis=params["redis"],
        ollama=params["ollama"],
        load_rate=params["load_rate"],
        load_seconds=params["load_seconds"],
    )
    return running.run(cases.case_of(params["case"])).as_dict()


def restore(params: dict[str, Any]) -> list[str]:
    """Put the gateway's containers back and clear the drill's keys; return what had to be put back.

    Raises:
        engine.EngineFailed: Docker did not do what it was told.
    """
    docker = engine.Engine()
    restored = docker.put_back([params["redis"], params["ollama"]])
    for container in restored:
        docker.wait_until_healthy(container)
    if docker.runs(params["redis"]):
        docker.forget(params["redis"], plan.NAMESPACE)
    return restored


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["drilled", "restored"], "default": "drilled"},
            "case": {"type": "dict"},
            "keys": {"type": "dict", "no_log": True},
            "limits": {"type": "dict"},
            "cooldown_seconds": {"type": "float", "default": 10},
            "load_seconds": {"type": "float", "default": 60},
            "load_rate": {"type": "float", "default": 20},
            "network": {"type": "str", "default": "llm-gateway"},
            "replica": {"type": "str", "default": "llm-gateway-drill"},
            "backend": {"type": "str", "default": "llm-gateway-drill-backend"},
            "redis": {"type": "str", "default": "llm-gateway-redis"},
            "ollama": {"type": "str", "default": "llm-gateway-ollama"},
        },
        required_if=[("state", "drilled", ["case", "keys", "limits"])],
        supports_check_mode=True,
    )
    params = module.params
    if params["state"] == "drilled" and (params["case"] or {}).get("name") not in cases.NAMES:
        module.fail_json(msg=f"case: write a name and a title; the names are {', '.join(cases.NAMES)}")
    if module.check_mode:
        module.exit_json(changed=False)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end_tidily)
    try:
        if params["state"] == "restored":
            restored = restore(params)
            module.exit_json(changed=bool(restored), restored=restored)
        module.exit_json(changed=False, result=drill(params))
    except (Interrupted, ValueError, engine.EngineFailed, asking.NotReached) as reason:
        module.fail_json(msg=str(reason))


if __name__ == "__main__":
    main()
