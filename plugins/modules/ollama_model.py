#!/usr/bin/python
"""Ansible module: the models that an Ollama server holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: Keep models on an Ollama server
description:
  - Pulls models that an Ollama server does not hold yet, derives models from them, and keeps models in memory.
  - Removes models that it holds.
  - With O(state=present) a model that is there is not pulled again, even when the registry has a newer one under its
    name.
  - Models are handled in the order given. The first failure stops the task; models pulled before it stay.
  - The task prints how far it is, at least every ten seconds; with the task's C(async) it prints nothing.
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
    default: []
  derived:
    description:
      - Models made on the server from others, with parameters or texts of their own. They share their base's files.
      - One that is there is made again when it differs from its base in anything else, or in their values.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the derived model.
        type: str
        required: true
      from:
        description: The model it is made from; Ollama pulls it if it is not in O(names) and not there.
        type: str
        required: true
      parameters:
        description: Ollama's parameters, such as C(num_ctx), and their values. The base's others stay.
        type: dict
        default: {}
      system:
        description: System prompt; the base's without it.
        type: str
      template:
        description: Template of a prompt in the syntax of Go; the base's without it.
        type: str
  gguf:
    description:
      - Models made from GGUF files. A file is uploaded once; its model is made again when the file, its parameters or
        its texts differ from those it was made of. They are noted where Ollama keeps a model's licence.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the model.
        type: str
        required: true
      path:
        description: The file, on the machine that runs Ansible (in C(files) of the role or play, or absolute).
        type: path
        required: true
      remote_src:
        description: Whether the file is on the target host instead.
        type: bool
        default: false
      sha256:
        description: Its sum in hex. Without it the file is read whole at each run, which takes seconds a gigabyte.
        type: str
      parameters:
        description: Ollama's parameters, such as C(num_ctx), and their values.
        type: dict
        default: {}
      system:
        description: System prompt.
        type: str
      template:
        description: Template of a prompt in the syntax of Go; Ollama finds one for known files without it.
        type: str
      quantize:
        description:
          - What Ollama makes of a file of 16 or 32 bits.
          - Newer versions of Ollama refuse it; quantize the file beforehand with C(llama-quantize) of llama.cpp then.
        type: str
        choices: [q4_K_M, q4_K_S, q8_0]
  resident:
    description:
      - Models that shall be in memory and stay there until Ollama needs the room or restarts.
      - The task fails when they are not all in memory at its end.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) makes the server hold O(names), O(gguf) and O(derived) and keep O(resident) in memory.
      - V(latest) also pulls those of O(names) again of which O(registry) has another version. Models from elsewhere,
        and those that the registry does not know, are refused.
      - V(absent) removes O(names).
      - V(only) removes every other model than O(names), O(gguf) and O(derived), and neither pulls nor makes any.
      - A model that is removed leaves memory first.
    type: str
    choices: [present, latest, absent, only]
    default: present
  registry:
    description:
      - Address of Ollama's registry, which tells the sizes of models for O(models_dir) and, for V(latest), their
        digests. Nothing is pulled from it; that is what the server does.
    type: str
    default: https://registry.ollama.ai
  models_dir:
    description:
      - Folder on the target host in which the server keeps its models.
      - With it, nothing is pulled when the models do not fit there, or when the registry does not know one of them.
        A tenth of the download stays free, and at least 2 GiB.
    type: path
  progress_file:
    description:
      - File on the target host that tells how far the task is; it is removed at the end.
      - For whoever waits for the task. Without the task's C(async) it is chosen and read for you.
    type: path
  timeout:
    description:
      - How long the server may send nothing while it pulls, makes or loads a model, in seconds.
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
      - Without O(models_dir) the registry is not asked whether it knows the missing models.
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

- name: Pull a model again when there is a newer one under its name
  homelab.llm_gateway.ollama_model:
    names: [nomic-embed-text]
    state: latest

- name: Remove a model that is no longer used
  homelab.llm_gateway.ollama_model:
    names: [mistral:7b-instruct]
    state: absent

- name: Give a model a longer context and keep it in memory
  homelab.llm_gateway.ollama_model:
    names: ["qwen3.5:2b"]
    derived:
      - name: qwen3.5:2b-ctx16384
        from: qwen3.5:2b
        parameters: {num_ctx: 16384}
    resident: ["qwen3.5:2b-ctx16384"]

- name: Make a model from a file of this machine
  homelab.llm_gateway.ollama_model:
    gguf:
      - name: house-style
        path: models/house-style-f16.gguf
        quantize: q4_K_M
        parameters: {num_ctx: 8192}

- name: Give a model a role of its own
  homelab.llm_gateway.ollama_model:
    names: ["qwen3.5:2b"]
    derived:
      - name: editor
        from: qwen3.5:2b
        system: You correct spelling and change nothing else.

- name: See what else the server holds
  homelab.llm_gateway.ollama_model:
    names: ["qwen3.5:2b"]
    state: only
  check_mode: true
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
outdated:
  description:
    - With O(state=latest) the models of O(names) of which the registry had another version before the task. In check
      mode these would be pulled again.
  type: list
  elements: str
  returned: always, except when no server answered
  sample: ["nomic-embed-text:latest"]
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
imported:
  description: The models of O(gguf) that this task made, or would make in check mode.
  type: list
  elements: str
  returned: always, except when no server answered
uploads:
  description: The sums of the files of O(gguf) that the server did not have before the task, in hex.
  type: list
  elements: str
  returned: always, except when no server answered
derived:
  description: The derived models that this task made, or would make in check mode.
  type: list
  elements: str
  returned: always, except when no server answered
loaded:
  description: The models that this task loaded to stay in memory, or would load in check mode.
  type: list
  elements: str
  returned: always, except when no server answered
removed:
  description: The models that this task removed, or would remove in check mode.
  type: list
  elements: str
  returned: always, except when no server answered
freed_bytes:
  description: What O(state=only) frees on disk; files that other models need as well are not counted.
  type: int
  returned: success
download_bytes:
  description:
    - What is to be downloaded for O(names), less what is on the disk already. 0 without O(models_dir), and for models
      whose sizes the registry does not tell.
  type: int
  returned: success
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
  returned: when Ollama refused what it was asked to do
  sample: "pull model manifest: file does not exist"
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ollama import api, gguf, progress, registry
from ..module_utils.ollama.changing import (
    count_freed,
    import_files,
    load_resident,
    make_derived,
    pull_missing,
    remove_held,
    to_remove,
)
from ..module_utils.ollama.outcome import Outcome, TaskFailure, Work
from ..module_utils.ollama.seeing import look, see_outdated, see_room, see_what_follows
from ..module_utils.ollama.wanted import HOLDING, Wanted, parse_wanted

ARGUMENT_SPEC: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:11434"},
    "names": {"type": "list", "elements": "str", "default": []},
    "derived": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "from": {"type": "str", "required": True},
            "parameters": {"type": "dict", "default": {}},
            "system": {"type": "str"},
            "template": {"type": "str"},
        },
    },
    "gguf": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "remote_src": {"type": "bool", "default": False},
            "sha256": {"type": "str"},
            "parameters": {"type": "dict", "default": {}},
            "system": {"type": "str"},
            "template": {"type": "str"},
            "quantize": {"type": "str", "choices": list(gguf.QUANTIZATIONS)},
        },
    },
    "resident": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "latest", "absent", "only"], "default": "present"},
    "registry": {"type": "str", "default": registry.DEFAULT_URL},
    "models_dir": {"type": "path"},
    "progress_file": {"type": "path"},
    "timeout": {"type": "float", "default": 900},
    "wait": {"type": "float", "default": 30},
}


def difference(url: str, before: list[str], after: list[str]) -> dict[str, str]:
    """Ansible's diff of the names held and of what is said of them, one a line."""
    return {
        "before_header": f"models held by {url}",
        "after_header": f"models held by {url}",
        "before": "".join(f"{name}\n" for name in sorted(before)),
        "after": "".join(f"{name}\n" for name in sorted(after)),
    }


def hold(client: api.Client, wanted: Wanted, outcome: Outcome, work: Work, check_mode: bool) -> list[str]:
    """Do what state present asks for and return the names held afterwards; raises TaskFailure."""
    outcome.notes_after = [str(wanted.imported[key]) for key in outcome.to_import]
    outcome.notes_after += [str(wanted.derived[key]) for key in outcome.to_make]
    outcome.notes_before += [f"{wanted.pulled[key].short}: {outcome.before[key].digest[:12]}" for key in outcome.newest]
    outcome.notes_after += [f"{wanted.pulled[key].short}: {newest[:12]}" for key, newest in outcome.newest.items()]
    outcome.notes_after += [f"{wanted.resident[key].short}: stays in memory" for key in outcome.to_load]
    if check_mode:
        outcome.imported = [wanted.imported[key].name.short for key in outcome.to_import]
        outcome.made = [wanted.derived[key].name.short for key in outcome.to_make]
        outcome.loaded = [wanted.resident[key].short for key in outcome.to_load]
        held = [model.name for model in outcome.before.values()]
        return [*held, *outcome.missing, *(name for name in (*outcome.imported, *outcome.made) if name not in held)]
    pull_missing(client, wanted.pulled, work, outcome)
    import_files(client, wanted, work, outcome)
    if outcome.pulled or outcome.imported:
        see_what_follows(client, wanted, outcome)
    make_derived(client, wanted, work, outcome)
    load_resident(client, wanted, work, outcome)
    return [model.name for model in outcome.after.values()]


def remove(client: api.Client, wanted: Wanted, outcome: Outcome, state: str, check_mode: bool) -> list[str]:
    """Do what state absent or only asks for and return the names held afterwards; raises TaskFailure."""
    removed = to_remove(state, wanted, outcome)
    if removed and state == "only":
        count_freed(client, removed, outcome)
    if check_mode:
        outcome.removed = list(removed.values())
        return [model.name for key, model in outcome.before.items() if key not in removed]
    remove_held(client, removed, outcome)
    return [model.name for model in outcome.after.values()]


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do the task and return the module's results; raises TaskFailure."""
    state = params["state"]
    wanted = parse_wanted(params)
    try:
        client = api.Client(params["url"])
    except ValueError as error:
        raise TaskFailure(str(error)) from error
    outcome = look(client, wanted, state, params["wait"], check_mode)
    before = [model.name for model in outcome.before.values()]
    if state == "latest":
        see_outdated(wanted, params["registry"], outcome)
        see_what_follows(client, wanted, outcome)
    if state in HOLDING:
        see_room(params, wanted, outcome)
        work = Work(params["timeout"], progress.ProgressFile(params["progress_file"] or ""))
        try:
            after = hold(client, wanted, outcome, work, check_mode)
        finally:
            work.file.remove()
    else:
        after = remove(client, wanted, outcome, state, check_mode)
    results = outcome.results()
    results["changed"] = results["changed"] or (
        check_mode and state in HOLDING and bool(outcome.missing or outcome.newest)
    )
    results["freed_bytes"] = outcome.freed_bytes
    results["download_bytes"] = outcome.download_bytes
    results["warnings"] = outcome.warnings
    results["models"] = [asdict(model) for model in sorted(outcome.after.values(), key=lambda model: model.name)]
    results["diff"] = difference(
        client.url, before + outcome.notes_before + outcome.notes_of_derived, after + outcome.notes_after
    )
    return results


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        results = run(module.params, module.check_mode)
    except TaskFailure as failure:
        module.fail_json(msg=str(failure), **failure.results)
    else:
        for warning in results.pop("warnings"):
            module.warn(warning)
        module.exit_json(**results)


if __name__ == "__main__":
    main()
