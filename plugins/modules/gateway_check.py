#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
"""Ansible module: ask a running LiteLLM gateway real questions."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_check
short_description: Ask a running LiteLLM gateway real questions
description:
  - Asks a gateway from the box it runs on, and fails with all wrong answers in one list.
  - At the clients' address it checks liveliness, that requests without a key and with a wrong key are refused with
    status 401, that the model list equals the catalog, one completion of each chat model, one streamed completion, and
    one vector of each embedding model.
  - At each replica's own address it checks readiness, that LiteLLM reaches Redis, and that it gives metrics.
  - Each answer must come from one of the model's own backends. Completions are asked with C(disable_fallbacks), so that
    a fallback does not hide a broken backend.
  - It never asks C(/health), which calls every model. It uses no proxy.
options:
  url:
    description: Address at which clients reach the gateway.
    type: str
    default: http://127.0.0.1:4000
  api_key:
    description: A key that may use every model.
    type: str
    required: true
  models:
    description: The models of the catalog.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name clients ask for.
        type: str
        required: true
      mode:
        description: What the model does.
        type: str
        choices: [chat, embedding]
        default: chat
      paid:
        description: Whether an answer costs money.
        type: bool
        default: false
      timeout:
        description: Seconds for a whole answer.
        type: float
        default: 60
      first_token_timeout:
        description: Seconds until the first token of a streamed answer. Without it O(models[].timeout) counts.
        type: float
      backends:
        description: What may answer for this model.
        type: list
        elements: dict
        required: true
        suboptions:
          id:
            description: C(model_info.id) of the backend in LiteLLM's configuration.
            type: str
            required: true
          description:
            description: Words for people, such as C(ollama qwen3.5:2b on box1).
            type: str
            default: ""
  replicas:
    description: The LiteLLM processes behind that address.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name, for messages.
        type: str
        required: true
      url:
        description: Its own address; empty when it does not run.
        type: str
        required: true
      log_hint:
        description: Command that shows its log.
        type: str
        default: ""
  ask_paid:
    description: Whether to ask models that cost money too.
    type: bool
    default: false
  only:
    description: Names of the models to ask, also when they cost money. Empty asks all but those that cost money.
    type: list
    elements: str
    default: []
  ready_timeout:
    description: Seconds to wait until the gateway is ready.
    type: float
    default: 60
  ask_redis:
    description: Whether the gateway shall reach Redis. Switch it off for a gateway that runs without one.
    type: bool
    default: true
  ask_metrics:
    description: Whether each replica shall give metrics for Prometheus.
    type: bool
    default: true
  redis_timeout:
    description:
      - Seconds to ask until every replica reaches Redis.
      - LiteLLM itself may stay away from a Redis that was restarted for up to 60 seconds.
    type: float
    default: 70
  log_hint:
    description: Command that shows the log of what listens at O(url). A network failure ends with it.
    type: str
    default: ""
notes:
  - Supports C(check_mode). It only asks, and asks the same in check mode; the questions cost tokens there too.
  - The key, and whatever looks like one in an answer, is left out of all output.
author:
  - LLM gateway authors (@homelab)
"""

EXAMPLES = r"""
- name: Ask the gateway
  homelab.llm_gateway.gateway_check:
    url: http://127.0.0.1:4000
    api_key: "{{ vault_litellm_master_key }}"
    log_hint: docker logs --tail 50 llm-gateway-ingress
    replicas:
      - name: litellm-1
        url: http://172.18.0.5:4000
        log_hint: docker logs --tail 50 llm-gateway-litellm-1
    models:
      - name: local
        timeout: 120
        first_token_timeout: 30
        backends:
          - id: local-ollama-box1
            description: ollama qwen3.5:2b on box1
      - name: embed
        mode: embedding
        backends:
          - id: embed-ollama-box1
      - name: smart
        paid: true
        backends:
          - id: smart-anthropic
"""

RETURN = r"""
failures:
  description: Every wrong answer, a sentence each. The module fails when there is one.
  returned: always
  type: list
  elements: str
  sample: ["model list: missing local", "accepts a wrong key: GET /v1/models gave status 200 instead of 401"]
models:
  description: What became of each model.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The model.
      type: str
    mode:
      description: chat or embedding.
      type: str
    asked:
      description: Whether it was asked.
      type: bool
    note:
      description: Why it was not asked.
      returned: when it was not asked
      type: str
    answered_by:
      description: Description of the backend that answered, or its id.
      returned: when it answered
      type: str
    backend_id:
      description: Id of the backend that answered.
      returned: when it answered
      type: str
    seconds:
      description: Time until the answer was complete.
      returned: when it answered
      type: float
    first_token_seconds:
      description: Time to the first token of the streamed answer.
      returned: for the model that streamed
      type: float
    dimensions:
      description: Length of the vector.
      returned: for embedding models that answered
      type: int
    text:
      description: The first 60 characters of the answer.
      returned: for chat models that answered
      type: str
first_token_seconds:
  description: Time to the first token of the streamed answer; null when nothing was streamed.
  returned: always
  type: float
seconds:
  description: Time the whole check took.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gateway import checks


def model_of(option: dict[str, Any]) -> checks.Model:
    """Return one entry of the option ``models`` as a typed model."""
    backends = tuple(checks.Backend(item["id"], item["description"]) for item in option["backends"])
    return checks.Model(
        option["name"], option["mode"], option["paid"], option["timeout"], option["first_token_timeout"], backends
    )


def replica_of(option: dict[str, Any], api_key: str) -> checks.Replica:
    """Return one entry of the option ``replicas`` as a typed replica. Raises ValueError for a wrong address."""
    url = option["url"]
    return checks.Replica(option["name"], checks.Gateway(url, api_key, option["log_hint"]) if url else None)


def main() -> None:
    """Run the module."""
    backend = {"id": {"type": "str", "required": True}, "description": {"type": "str", "default": ""}}
    model = {
        "name": {"type": "str", "required": True},
        "mode": {"type": "str", "choices": ["chat", "embedding"], "default": "chat"},
        "paid": {"type": "bool", "default": False},
        "timeout": {"type": "float", "default": 60},
        "first_token_timeout": {"type": "float"},
        "backends": {"type": "list", "elements": "dict", "required": True, "options": backend},
    }
    replica = {
        "name": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "log_hint": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": "http://127.0.0.1:4000"},
            "api_key": {"type": "str", "required": True, "no_log": True},
            "models": {"type": "list", "elements": "dict", "required": True, "options": model},
            "replicas": {"type": "list", "elements": "dict", "required": True, "options": replica},
            "ask_paid": {"type": "bool", "default": False},
            "only": {"type": "list", "elements": "str", "default": []},
            "ready_timeout": {"type": "float", "default": 60},
            "ask_redis": {"type": "bool", "default": True},
            "ask_metrics": {"type": "bool", "default": True},
            "redis_timeout": {"type": "float", "default": 70},
            "log_hint": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not params["api_key"]:
        module.fail_json(msg="api_key is empty: give a key that may use every model")
    try:
        gateway = checks.Gateway(params["url"], params["api_key"], params["log_hint"])
        replicas = [replica_of(option, params["api_key"]) for option in params["replicas"]]
    except ValueError as error:
        module.fail_json(msg=str(error))
    models = [model_of(option) for option in params["models"]]
    known = sorted(model.name for model in models)
    unknown = [name for name in params["only"] if name not in known]
    if unknown:
        module.fail_json(
            msg=f"the catalog has no model {', '.join(unknown)}, so nothing was asked. Known: {', '.join(known)}"
        )
    report = checks.run_checks(
        gateway,
        replicas,
        models,
        ask_paid=params["ask_paid"],
        only=params["only"],
        ask_metrics=params["ask_metrics"],
        ready_timeout=params["ready_timeout"],
        redis_timeout=params["redis_timeout"] if params["ask_redis"] else None,
    )
    result = {
        "changed": False,
        "failures": report.failures,
        "models": [item.as_dict() for item in report.models],
        "first_token_seconds": report.first_token_seconds,
        "seconds": report.seconds,
    }
    if report.failures:
        module.fail_json(msg=report.message(params["url"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
