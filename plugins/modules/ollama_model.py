#!/usr/bin/python
"""Ansible module: the models that an Ollama server holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: Keep models on an Ollama server
description:
  - Pulls models that an Ollama server does not hold yet, or removes models that it holds.
  - A model that is there is not pulled again, even when the registry has a newer one under the same name.
  - Models are handled in the order given. The first failure stops the task; models pulled before it stay.
  - A pull that was interrupted continues where it stopped when the task runs again.
options:
  url:
    description:
      - Address of the Ollama server as the target host sees it, without user name and password.
      - It is asked directly, never through a proxy.
    type: str
    default: http://127.0.0.1:11434
  names:
    description:
      - Models by Ollama's names, V([host/][namespace/]model[:tag]). Without a tag V(latest) is meant.
      - Names are compared as Ollama does, without regard to case.
    type: list
    elements: str
    required: true
  state:
    description: Whether the server shall hold the models.
    type: str
    choices: [present, absent]
    default: present
  timeout:
    description:
      - How long a pull may send nothing, in seconds.
      - Ollama is silent for minutes while it checks the sum of a big file.
    type: float
    default: 900
  wait:
    description: How long to wait for the server's first answer, in seconds. Check mode asks once and does not wait.
    type: float
    default: 30
attributes:
  check_mode:
    description: Can run in check mode and tell what would change without changing it.
    support: full
    details:
      - When no server answers, every model counts as missing, because the container may not be there yet.
      - The registry is not asked whether it knows the missing models.
  diff_mode:
    description: Returns what changed, or would change in check mode, as a difference.
    support: full
author: "LLM gateway authors (@homelab)"
"""

EXAMPLES = r"""
- name: Pull the declared models
  homelab.llm_gateway.ollama_model:
    names:
      - qwen3.5:2b
      - nomic-embed-text

- name: Remove a model that is no longer used
  homelab.llm_gateway.ollama_model:
    names: [mistral:7b-instruct]
    state: absent
"""

RETURN = r"""
version:
  description: Version of the Ollama server; empty when no server answered in check mode.
  type: str
  returned: always, except when no server answered
  sample: 0.34.2
missing:
  description: The models of O(names) that the server did not hold before the task. In check mode these would be pulled.
  type: list
  elements: str
  returned: always, except when no server answered
  sample: ["qwen3.5:2b"]
pulled:
  description: The models that this task pulled, also when a later one failed.
  type: list
  elements: dict
  returned: always, except when no server answered
  contains:
    name:
      description: The model's name in Ollama's short form.
      type: str
    bytes:
      description: Size of the model on disk. Files that were there already are counted too.
      type: int
    seconds:
      description: How long the pull took.
      type: float
    digest:
      description: The sha256 of the model's manifest, in hex.
      type: str
  sample: [{name: "qwen3.5:2b", bytes: 2741180928, seconds: 93.4, digest: "hex digits"}]
removed:
  description: The models that this task removed, or would remove in check mode.
  type: list
  elements: str
  returned: always, except when no server answered
models:
  description: All models that the server holds after the task; in check mode those that it holds now.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The model's name as the server shows it.
      type: str
    digest:
      description: The sha256 of the model's manifest, in hex.
      type: str
    size:
      description: Size of the model on disk in bytes.
      type: int
ollama_message:
  description: Ollama's own message; missing when the connection broke or fell silent.
  type: str
  returned: when Ollama refused a pull or a removal
  sample: "pull model manifest: file does not exist"
"""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ollama import api, names

ARGUMENT_SPEC: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:11434"},
    "names": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "timeout": {"type": "float", "default": 900},
    "wait": {"type": "float", "default": 30},
}

_UNKNOWN_MODEL_HINT = (
    "Check the name in llm_models (group_vars/all/models.yml); the list is at https://ollama.com/library."
)
_DISK_FULL_HINT = "The disk that holds the models is full: free some space or declare smaller models."
_TOO_OLD_HINT = "Raise the tag of the Ollama image in group_vars/all/images.yml, or declare another model."
_NETWORK_HINT = "The Ollama server does not reach the model registry: check the DNS, firewall and proxy of the box."
_OTHER_HINT = "The log of the Ollama container says more. Run again: a pull continues where it stopped."
# Texts of Ollama server/images.go and of Go's net package, in lower case.
_HINTS = (
    ("file does not exist", _UNKNOWN_MODEL_HINT),
    ("no space left on device", _DISK_FULL_HINT),
    ("manifest: 412", _TOO_OLD_HINT),
    ("newer version of ollama", _TOO_OLD_HINT),
    ("no such host", _NETWORK_HINT),
    ("dial tcp", _NETWORK_HINT),
    ("i/o timeout", _NETWORK_HINT),
    ("tls:", _NETWORK_HINT),
)


class TaskFailure(Exception):
    """The task cannot go on; ``results`` are returned next to the message."""

    def __init__(self, message: str, **results: Any) -> None:
        super().__init__(message)
        self.results = results


@dataclass
class Outcome:
    """What the task found and did; ``before`` and ``after`` are the models held, by ``names.Name.key``."""

    version: str
    before: dict[str, api.Model]
    after: dict[str, api.Model]
    missing: list[str]
    pulled: list[dict[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def results(self) -> dict[str, Any]:
        """The part of the module's results that a failed task returns too."""
        return {
            "version": self.version,
            "missing": self.missing,
            "pulled": self.pulled,
            "removed": self.removed,
            "changed": bool(self.pulled or self.removed),
        }


def parse_names(texts: list[str]) -> dict[str, names.Name]:
    """The names by key, each model once, in the order given; raises TaskFailure that lists every invalid name."""
    wanted: dict[str, names.Name] = {}
    problems: list[str] = []
    for text in texts:
        try:
            name = names.parse(text)
        except names.InvalidName as error:
            problems.append(str(error))
            continue
        wanted.setdefault(name.key, name)
    if problems:
        raise TaskFailure(" ".join(problems))
    return wanted


def held_models(client: api.Client) -> dict[str, api.Model]:
    """The models that the server holds, by key; raises api.ApiError."""
    held: dict[str, api.Model] = {}
    for model in client.tags():
        try:
            key = names.parse(model.name).key
        except names.InvalidName:
            # Servers newer than these rules may list names of another form; nobody can declare them, so they stay.
            key = model.name
        held[key] = model
    return held


def look(client: api.Client, wanted: dict[str, names.Name], wait_s: float, check_mode: bool) -> Outcome:
    """Ask the server what it holds; raises TaskFailure when it does not answer."""
    try:
        version = client.wait(0 if check_mode else wait_s)
        held = held_models(client)
    except api.Unreachable as error:
        if not check_mode:
            raise TaskFailure(
                f"No Ollama server answers at {error.url} after {wait_s:g} seconds: {error.reason}. "
                "Check that its container runs (docker ps) and that url is its address on this host."
            ) from error
        version, held = "", {}
    except api.OllamaError as error:
        raise TaskFailure(
            f"What answers at {client.url} is not a working Ollama server: HTTP status {error.status}, {error.text}. "
            "Check that url is the address of the Ollama container."
        ) from error
    missing = [name.short for key, name in wanted.items() if key not in held]
    return Outcome(version=version, before=held, after=held, missing=missing)


def pull_missing(client: api.Client, wanted: dict[str, names.Name], silence_s: float, outcome: Outcome) -> None:
    """Pull what is not held; raises TaskFailure at the first model that fails."""
    for key, name in wanted.items():
        if key in outcome.after:
            continue
        started = time.monotonic()
        try:
            client.pull(name.short, silence_s=silence_s)
            outcome.after = held_models(client)
        except api.ApiError as error:
            raise change_failure("pull", name, error, outcome) from error
        if key not in outcome.after:
            raise TaskFailure(
                f"Ollama reported that it pulled {name.short}, but does not list it. {_OTHER_HINT}", **outcome.results()
            )
        model = outcome.after[key]
        outcome.pulled.append(
            {
                "name": name.short,
                "bytes": model.size,
                "seconds": round(time.monotonic() - started, 1),
                "digest": model.digest,
            }
        )


def remove_held(client: api.Client, wanted: dict[str, names.Name], outcome: Outcome) -> None:
    """Remove what is held; raises TaskFailure at the first model that fails."""
    for key, name in wanted.items():
        if key not in outcome.before:
            continue
        try:
            client.delete(outcome.before[key].name)
            outcome.removed.append(name.short)
            outcome.after = held_models(client)
        except api.ApiError as error:
            raise change_failure("remove", name, error, outcome) from error


def change_failure(verb: str, name: names.Name, error: api.ApiError, outcome: Outcome) -> TaskFailure:
    """The failure to report when a model could not be pulled or removed."""
    text = str(error)
    hint = next((hint for part, hint in _HINTS if part in text.lower()), _OTHER_HINT)
    done = [entry["name"] for entry in outcome.pulled] + outcome.removed
    return TaskFailure(
        f"Ollama {outcome.version} could not {verb} {name.short}: {' '.join(text.split()).rstrip('.')}. {hint} "
        f"Done before it: {', '.join(done) or 'nothing'}.",
        **({"ollama_message": error.text} if isinstance(error, api.OllamaError) else {}),
        **outcome.results(),
    )


def difference(url: str, before: list[str], after: list[str]) -> dict[str, str]:
    """Ansible's diff of the names held, one a line."""
    return {
        "before_header": f"models held by {url}",
        "after_header": f"models held by {url}",
        "before": "".join(f"{name}\n" for name in sorted(before)),
        "after": "".join(f"{name}\n" for name in sorted(after)),
    }


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do the task and return the module's results; raises TaskFailure."""
    wanted = parse_names(params["names"])
    try:
        client = api.Client(params["url"])
    except ValueError as error:
        raise TaskFailure(str(error)) from error
    outcome = look(client, wanted, params["wait"], check_mode)
    before = [model.name for model in outcome.before.values()]
    absent = params["state"] == "absent"
    if check_mode:
        if absent:
            outcome.removed = [name.short for key, name in wanted.items() if key in outcome.before]
            after = [model.name for key, model in outcome.before.items() if key not in wanted]
        else:
            after = before + outcome.missing
    else:
        if absent:
            remove_held(client, wanted, outcome)
        else:
            pull_missing(client, wanted, params["timeout"], outcome)
        after = [model.name for model in outcome.after.values()]
    results = outcome.results()
    if check_mode and not absent:
        results["changed"] = bool(outcome.missing)
    results["models"] = [asdict(model) for model in sorted(outcome.after.values(), key=lambda model: model.name)]
    results["diff"] = difference(client.url, before, after)
    return results


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        results = run(module.params, module.check_mode)
    except TaskFailure as failure:
        module.fail_json(msg=str(failure), **failure.results)
    else:
        module.exit_json(**results)


if __name__ == "__main__":
    main()
