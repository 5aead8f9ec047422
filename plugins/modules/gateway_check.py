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
    status 401, that administrative routes and requests for other hosts are not found, that the model list equals the
    catalog, one completion of each chat model, one streamed completion, and one vector of each embedding model.
  - A model whose declaration no earlier run has tested is tested in depth. A stream must arrive over time; a model with
    C(tools) must call one; a prompt as long as the declared C(context) must reach it whole; the same text must give the
    same vector.
  - At each replica's own address it checks readiness, that LiteLLM reaches Redis, and that it gives metrics.
  - Each answer must come from one of the model's own backends. Completions are asked with C(disable_fallbacks), so that
    a fallback does not hide a broken backend.
  - It never asks C(/health), which calls every model. It uses no proxy.
options:
  url:
    description: Address at which clients reach the gateway.
    type: str
    default: http://127.0.0.1:4000
  connect_to:
    description: IP address to connect to instead of the host in O(url), which stays the name for TLS and HTTP.
    type: str
    default: ""
  ca_file:
    description:
      - File with the certificate of the authority that signed the gateway's.
      - Empty for the authorities that the box trusts.
    type: path
    default: ""
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
      context:
        description: Tokens of question and answer that the model is declared to hold.
        type: int
      tools:
        description: Whether the model is declared to call tools.
        type: bool
        default: false
      resident:
        description: Whether the model is kept loaded. Part of what is proved, not asked.
        type: bool
        default: false
      fallbacks:
        description: The models that answer in its place. Part of what is proved, not asked.
        type: list
        elements: str
        default: []
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
    description: The LiteLLM processes behind that address. Without it O(replica_count) of them are looked up in Docker.
    type: list
    elements: dict
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
  replica_count:
    description: How many replicas there should be, for those that are looked up in Docker.
    type: int
  network:
    description: The Docker network on which those are asked.
    type: str
    default: llm-gateway
  ask_paid:
    description:
      - Whether to ask models that cost money too.
      - With it, such a model that O(only) names gets a prompt of its whole context as well.
    type: bool
    default: false
  deep:
    description:
      - Which of the models that are asked are tested in depth. V(changed) means those whose declaration no receipt says
        to have been tested without a failure.
      - Models that cost money are so only when O(only) names them.
    type: str
    choices: [changed, all, none]
    default: changed
  ask_slow:
    description:
      - Whether a prompt as long as the declared context is sent also where it would take more than 60 seconds, or more
        than the model's timeout. Two shorter prompts before it tell.
    type: bool
    default: false
  only:
    description:
      - Names of the models to ask, in depth unless O(deep=none), also when they cost money.
      - Empty asks all but those that cost money.
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
  ask_routes:
    description: Whether administrative routes and requests for other hosts must not be found, as behind the ingress.
    type: bool
    default: true
  exposed:
    description: Sentences on what is wrong with what the box lets out, from M(homelab.llm_gateway.gateway_exposure).
    type: list
    elements: str
    default: []
  outside:
    description: What other machines saw, from M(homelab.llm_gateway.gateway_outside).
    type: list
    elements: dict
    default: []
    suboptions:
      place:
        description: Words for the machine.
        type: str
        required: true
      addresses:
        description: Where it looked.
        type: list
        elements: str
        default: []
      answering:
        description: What answered.
        type: list
        elements: str
        default: []
      failures:
        description: What is wrong.
        type: list
        elements: str
        default: []
      notes:
        description: What could not be told.
        type: list
        elements: str
        default: []
  unreachable:
    description: Names of machines that were to look at the gateway and could not be reached.
    type: list
    elements: str
    default: []
  receipts_dir:
    description:
      - Folder of the receipts, made for its owner alone. The last 20 are kept. Empty writes and reads none.
      - A receipt is no change of the box, so RV(ignore:changed) stays false.
    type: path
    default: ""
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
  - Supports C(check_mode). It asks the same in check mode, where the questions cost tokens too, but writes no receipt.
  - The key, and whatever looks like one in an answer, is left out of all output.
author:
  - LLM gateway authors (@homelab)
"""

EXAMPLES = r"""
- name: Ask the gateway
  homelab.llm_gateway.gateway_check:
    url: https://llm.home.arpa:4000
    connect_to: 127.0.0.1
    ca_file: /var/lib/llm-gateway/ingress/caddy/pki/authorities/local/root.crt
    api_key: "{{ vault_litellm_master_key }}"
    log_hint: docker logs --tail 50 llm-gateway-ingress
    replica_count: 2
    receipts_dir: /var/lib/llm-gateway/receipts
    models:
      - name: local
        context: 8192
        tools: true
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
notes:
  description: What could not be told, a sentence each. None of it is a failure.
  returned: always
  type: list
  elements: str
receipt:
  description: Path of the receipt; empty when none was written.
  returned: always
  type: str
  sample: /var/lib/llm-gateway/receipts/20261121T081500.123456Z.json
outside:
  description: What other machines saw, as handed over.
  returned: always
  type: list
  elements: dict
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
    deep:
      description: Whether it was tested in depth.
      type: bool
    proofs:
      description: The figures of each test in depth that was passed.
      returned: when there is one
      type: dict
    fingerprint:
      description: Tells this declaration of the model from every other one.
      type: str
    notes:
      description: What could not be told of it, also by the earlier run that tested it.
      returned: when there is something
      type: list
      elements: str
    tested_at:
      description: When this declaration was last tested in depth without a failure, RFC 3339.
      returned: when it was
      type: str
    proved_at:
      description: When this declaration passed all its tests in depth, RFC 3339.
      returned: when it did
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

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.docker import Answer, command_runner, find_command
from ..module_utils.gateway import checks, receipts
from ..module_utils.gateway.asking import Gateway, Route
from ..module_utils.gateway.questions import Backend, Model
from ..module_utils.gateway.replicas import container_names, replicas
from ..module_utils.gateway.service import Replica

DOCKER_SECONDS = 20


def model_of(option: dict[str, Any]) -> Model:
    """Return one entry of the option ``models`` as a typed model."""
    return Model(
        option["name"],
        option["mode"],
        option["paid"],
        option["timeout"],
        option["first_token_timeout"],
        tuple(Backend(item["id"], item["description"]) for item in option["backends"]),
        context=option["context"],
        tools=option["tools"],
        fingerprint=receipts.fingerprint(option),
    )


def replica_of(option: dict[str, Any], api_key: str) -> Replica:
    """Return one replica as the checks take it. Raises ValueError for a wrong address."""
    url = option["url"]
    return Replica(option["name"], Gateway(url, api_key, option["log_hint"]) if url else None)


def inspect(containers: list[str]) -> Answer:
    """Ask Docker about containers; of one that is gone it says nothing on its standard output."""
    return command_runner(DOCKER_SECONDS)(
        [find_command("docker") or "docker", "inspect", "--type", "container", *containers]
    )


def replica_options(params: dict[str, Any]) -> list[dict[str, str]]:
    """Return the replicas: those that were handed over, else those that Docker knows."""
    if params["replicas"] is not None:
        return list(params["replicas"])
    count = params["replica_count"]
    return replicas(inspect(container_names(count)).out, count, params["network"])


def scope_of(params: dict[str, Any]) -> checks.Scope:
    """Return what is to be asked. Raises OSError for receipts that cannot be read."""
    return checks.Scope(
        ask_paid=params["ask_paid"],
        only=params["only"],
        deep=params["deep"],
        ask_slow=params["ask_slow"],
        tested=receipts.tested(params["receipts_dir"]) if params["receipts_dir"] else {},
        ask_metrics=params["ask_metrics"],
        ask_routes=params["ask_routes"],
        ready_timeout=params["ready_timeout"],
        redis_timeout=params["redis_timeout"] if params["ask_redis"] else None,
    )


def result_of(report: checks.Report, params: dict[str, Any]) -> dict[str, Any]:
    """Return what is known after all questions, with what the box lets out and what other machines saw."""
    outside = params["outside"]
    report.failures.extend(params["exposed"])
    for view in outside:
        report.failures.extend(view["failures"])
        report.notes.extend(view["notes"])
    report.notes.extend(
        f"not reachable: {name}, so nobody has looked at the gateway from there. Ansible must be able to log in there: "
        f"ansible {name} -m ansible.builtin.ping"
        for name in params["unreachable"]
    )
    return {
        "failures": report.failures,
        "notes": report.notes,
        "models": [item.as_dict() for item in report.models],
        "outside": [{key: view[key] for key in ("place", "addresses", "answering")} for view in outside],
        "first_token_seconds": report.first_token_seconds,
        "seconds": report.seconds,
    }


def argument_spec() -> dict[str, Any]:
    """Return the options of the module."""
    backend = {"id": {"type": "str", "required": True}, "description": {"type": "str", "default": ""}}
    model = {
        "name": {"type": "str", "required": True},
        "mode": {"type": "str", "choices": ["chat", "embedding"], "default": "chat"},
        "paid": {"type": "bool", "default": False},
        "timeout": {"type": "float", "default": 60},
        "first_token_timeout": {"type": "float"},
        "context": {"type": "int"},
        "tools": {"type": "bool", "default": False},
        "resident": {"type": "bool", "default": False},
        "fallbacks": {"type": "list", "elements": "str", "default": []},
        "backends": {"type": "list", "elements": "dict", "required": True, "options": backend},
    }
    replica = {
        "name": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "log_hint": {"type": "str", "default": ""},
    }
    texts = {"type": "list", "elements": "str", "default": []}
    view = {
        "place": {"type": "str", "required": True},
        "addresses": texts,
        "answering": texts,
        "failures": texts,
        "notes": texts,
    }
    return {
        "url": {"type": "str", "default": "http://127.0.0.1:4000"},
        "connect_to": {"type": "str", "default": ""},
        "ca_file": {"type": "path", "default": ""},
        "api_key": {"type": "str", "required": True, "no_log": True},
        "models": {"type": "list", "elements": "dict", "required": True, "options": model},
        "replicas": {"type": "list", "elements": "dict", "options": replica},
        "replica_count": {"type": "int"},
        "network": {"type": "str", "default": "llm-gateway"},
        "ask_paid": {"type": "bool", "default": False},
        "deep": {"type": "str", "choices": [checks.CHANGED, checks.ALL, checks.NONE], "default": checks.CHANGED},
        "ask_slow": {"type": "bool", "default": False},
        "only": {"type": "list", "elements": "str", "default": []},
        "ready_timeout": {"type": "float", "default": 60},
        "ask_redis": {"type": "bool", "default": True},
        "ask_metrics": {"type": "bool", "default": True},
        "ask_routes": {"type": "bool", "default": True},
        "exposed": texts,
        "outside": {"type": "list", "elements": "dict", "default": [], "options": view},
        "unreachable": texts,
        "receipts_dir": {"type": "path", "default": ""},
        "redis_timeout": {"type": "float", "default": 70},
        "log_hint": {"type": "str", "default": ""},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_one_of=[("replicas", "replica_count")],
        mutually_exclusive=[("replicas", "replica_count")],
        supports_check_mode=True,
    )
    params = module.params
    if not params["api_key"]:
        module.fail_json(msg="api_key is empty: give a key that may use every model")
    models = [model_of(option) for option in params["models"]]
    known = sorted(model.name for model in models)
    unknown = [name for name in params["only"] if name not in known]
    if unknown:
        module.fail_json(
            msg=f"the catalog has no model {', '.join(unknown)}, so nothing was asked. Known: {', '.join(known)}"
        )
    try:
        route = Route(connect_to=params["connect_to"], ca_file=params["ca_file"])
        gateway = Gateway(params["url"], params["api_key"], params["log_hint"], route)
        asked = [replica_of(option, params["api_key"]) for option in replica_options(params)]
        scope = scope_of(params)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    moment = datetime.now(timezone.utc)
    now = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    report = checks.run_checks(gateway, asked, models, scope, now)
    result = {**result_of(report, params), "changed": False, "receipt": ""}
    if params["receipts_dir"] and not module.check_mode:
        receipt = {"time": now, "gateway": params["url"], "passed": not report.failures, **result}
        try:
            result["receipt"] = receipts.write(
                params["receipts_dir"],
                {key: value for key, value in receipt.items() if key not in ("changed", "receipt")},
                moment,
            )
        except OSError as error:
            report.failures.append(f"the receipt could not be written into {params['receipts_dir']}: {error.strerror}")
    if report.failures:
        module.fail_json(msg=report.message(params["url"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
