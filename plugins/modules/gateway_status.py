#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: what a gateway has spent, which breakers are open, how its containers are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_status
short_description: What a gateway has spent, which breakers are open, how its containers are
description:
  - Runs on the box and only reads. It asks Redis by C(redis-cli) inside Redis's container, where the password lies in a
    file; the password is in no command line and no output.
  - The budgets are those the running replicas use, from their policy file, not those of a catalog edited since.
  - A Redis that is stopped, hung or missing is no failure. What it alone knows is then null, never zero.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  deploy_dir:
    description: Folder with one folder for each service.
    type: path
    default: /opt/llm-gateway
  redis_container:
    description: Name of Redis's container.
    type: str
    default: llm-gateway-redis
  timeout:
    description: Seconds for each question to Docker and to Redis.
    type: int
    default: 5
attributes:
  check_mode:
    support: full
    description: Looks the same in check mode.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: Look at the gateway
  homelab.llm_gateway.gateway_status:
  register: looked

- name: Print it
  ansible.builtin.debug:
    msg: "{{ looked | homelab.llm_gateway.gateway_status_page }}"
"""

RETURN = r"""
month:
  description: The UTC month that the spend is of.
  returned: success
  type: str
  sample: 2026-11
opens_again:
  description: When all budgets start anew, RFC 3339.
  returned: success
  type: str
  sample: "2026-12-01T00:00:00Z"
redis:
  description: Whether Redis answered.
  returned: success
  type: dict
  contains:
    reachable:
      description: Whether it did.
      type: bool
    problem:
      description: Why it did not, a sentence; null when it did.
      type: str
providers:
  description: Every provider that may cost money.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The provider.
      type: str
    spent_usd:
      description:
        - What was spent this month; null when unknown.
        - Of a provider without a budget it is null as well when nothing is noted, for the gateway counts for budgets.
      type: float
    monthly_budget_usd:
      description: The budget; null without one.
      type: float
    left_usd:
      description: What is left of the budget; null without one or when the spend is unknown.
      type: float
    limit_usd:
      description: Spend from which other models answer; null without a budget.
      type: float
    fallback_at_percent:
      description: That limit as a share of the budget.
      type: float
    state:
      description: One of V(within budget), V(used up), V(no budget), V(unknown).
      type: str
clients:
  description: Every client; the same keys as for providers. From RV(clients[].limit_usd) on it is refused.
  returned: success
  type: list
  elements: dict
breakers:
  description: The breakers that are open; null when unknown.
  returned: success
  type: list
  elements: dict
  contains:
    deployment:
      description: LiteLLM's id of the backend that is left out.
      type: str
    since:
      description: Since when, RFC 3339; null when LiteLLM's entry cannot be read.
      type: str
    until:
      description: Until when.
      type: str
    seconds_left:
      description: Seconds until then.
      type: float
    status_code:
      description: HTTP status of the failure that opened it.
      type: str
containers:
  description: Every container that the files of the gateway make.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The container.
      type: str
    state:
      description: Docker's word for it, or V(missing).
      type: str
    health:
      description: One of V(healthy), V(unhealthy), V(starting), V(none); null for a missing container.
      type: str
    since:
      description: When it was started, RFC 3339.
      type: str
    restarts:
      description: How often Docker has started it again.
      type: int
"""

import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gateway import status

PASSWORD_FILE = "/run/redis-secrets/password"  # noqa: S105 - where it lies, not what it is


class Failed(Exception):
    """The gateway cannot be looked at. The message says why and what to do."""


def run(command: list[str], timeout: float, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with text on its standard input.

    Raises:
        Failed: it cannot be started or did not end in time.
    """
    try:
        return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise Failed(f"{command[0]} is not installed on this box: run make apply") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"'{' '.join(command[:2])}' gave no answer within {timeout:g} s") from error


def last_line(text: str) -> str:
    """Return the last line of an output that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def ask_redis(container: str, questions: list[str], timeout: int) -> list[Any]:
    """Return Redis's answers.

    Raises:
        Failed: Redis is not there or silent.
        status.NotUnderstood: it refused a question.
    """
    # The inner limit ends redis-cli inside the container as well, which the end of `docker exec` would not.
    script = f'REDISCLI_AUTH="$(cat {PASSWORD_FILE})" exec timeout {timeout} redis-cli --json'
    command = ["docker", "exec", "--interactive", container, "sh", "-c", script]
    done = run(command, timeout + 5, "".join(f"{question}\n" for question in questions))
    # 124 from coreutils, 143 from busybox.
    if done.returncode in {124, 143}:
        raise Failed(f"Redis gave no answer within {timeout} s. Look at: docker logs {container}")
    if done.returncode != 0:
        reason = last_line(done.stderr or done.stdout).removeprefix("Error response from daemon: ")
        raise Failed(f"Redis cannot be asked: {reason}. Look at: docker ps -a")
    return status.redis_answers(done.stdout, questions)


def look_at_redis(params: dict[str, Any], watched: status.Watched, now: datetime) -> dict[str, Any]:
    """Return what Redis knows, or why it could not be asked."""
    questions = status.redis_questions(watched, now)
    try:
        answers = ask_redis(params["redis_container"], questions, params["timeout"]) if questions else []
        spend = status.spend_report(watched, answers)
        breakers = status.breaker_report(watched, answers, now)
    except (Failed, status.NotUnderstood) as problem:
        unknown = status.spend_report(watched, None)
        return {"redis": {"reachable": False, "problem": str(problem)}, **unknown, "breakers": None}
    return {"redis": {"reachable": True, "problem": None}, **spend, "breakers": breakers}


def look_at_containers(folder: Path, timeout: int) -> list[dict[str, Any]]:
    """Return how the containers are that the Compose files of a folder make.

    Raises:
        Failed: Docker does not answer.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*/compose.yml"))]
    expected = [name for text in texts for name in status.container_names(text)]
    if not expected:
        return []
    done = run(["docker", "inspect", "--type", "container", *expected], timeout)
    try:
        # It prints those it found even when it fails for the others.
        inspected = json.loads(done.stdout or "[]")
    except ValueError as error:
        raise Failed(f"Docker's answer about the containers is no JSON: {error}") from error
    if done.returncode != 0 and "no such container" not in done.stderr.lower():
        raise Failed(f"Docker does not answer: {last_line(done.stderr)}. Look at: systemctl status docker")
    return status.container_report(inspected, expected)


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the gateway.

    Raises:
        Failed: there is no gateway, or Docker does not answer.
    """
    folder = Path(params["deploy_dir"])
    policy = folder / "litellm/secrets/policy.json"
    try:
        watched = status.read_policy(policy.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Failed(f"{policy} is missing: no gateway was put on this box. Run make apply") from error
    except (OSError, status.NotUnderstood) as error:
        raise Failed(f"{policy}: {error}. Run make apply, as root on the box") from error
    now = datetime.now(timezone.utc)
    return {
        "month": status.month_of(now),
        "opens_again": status.opens_again(now),
        "containers": look_at_containers(folder, params["timeout"]),
        **look_at_redis(params, watched, now),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "deploy_dir": {"type": "path", "default": "/opt/llm-gateway"},
            "redis_container": {"type": "str", "default": "llm-gateway-redis"},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        found = look(module.params)
    except Failed as reason:
        module.fail_json(msg=str(reason))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
