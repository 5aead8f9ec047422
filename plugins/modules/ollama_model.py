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

import re
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.box.models import size_models
from ..module_utils.box.problems import model_problems, size_warnings
from ..module_utils.box.system import read_path
from ..module_utils.ollama import api, derived, disk, gguf, names, progress, registry

if TYPE_CHECKING:
    from collections.abc import Callable

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

_REGISTRY_SECONDS = 15.0
_HOLDING = ("present", "latest")
_SUM = re.compile(r"[0-9a-fA-F]{64}")

_UNKNOWN_MODEL_HINT = (
    "Check the name in llm_models (group_vars/all/models.yml); the list is at https://ollama.com/library."
)
_OTHER_FILE_HINT = "The file is not the one of this sha256: write what sha256sum prints of it."
_QUANTIZE_HINT = (
    "Ollama quantizes files of 16 or 32 bits only, and newer versions none: quantize the file with llama-quantize of "
    "llama.cpp and leave quantize out."
)
_DISK_FULL_HINT = "The disk that holds the models is full: free some space or declare smaller models."
_TOO_OLD_HINT = "Raise the tag of the Ollama image in group_vars/all/images.yml, or declare another model."
_NETWORK_HINT = "The Ollama server does not reach the model registry: check the DNS, firewall and proxy of the box."
_MEMORY_HINT = "Declare a smaller model or context, or give Ollama more memory (ollama_memory_limit)."
_OTHER_HINT = "The log of the Ollama container says more. Run again: a pull continues where it stopped."
# Texts of Ollama server/images.go and of Go's net package, in lower case.
_HINTS = (
    ("file does not exist", _UNKNOWN_MODEL_HINT),
    ("digest mismatch", _OTHER_FILE_HINT),
    ("quantiz", _QUANTIZE_HINT),
    ("no space left on device", _DISK_FULL_HINT),
    ("more system memory", _MEMORY_HINT),
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


@dataclass(frozen=True)
class Wanted:
    """What the task is asked for; everything by ``names.Name.key``."""

    pulled: dict[str, names.Name]
    derived: dict[str, derived.Derived]
    imported: dict[str, gguf.GgufModel]
    resident: dict[str, names.Name]


@dataclass
class Outcome:
    """What the task found and did; ``before`` and ``after`` are the models held, by ``names.Name.key``.

    ``newest`` are the digests of the registry for models of which another version is held, by ``names.Name.key``.
    ``to_import``, ``to_make`` and ``to_load`` are what was found wrong, ``imported``, ``made`` and ``loaded`` what was
    done about it. ``uploads`` are the sums of files that the server lacks.
    """

    version: str
    before: dict[str, api.Model]
    after: dict[str, api.Model]
    missing: list[str]
    newest: dict[str, str] = field(default_factory=dict)
    to_import: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    to_make: list[str] = field(default_factory=list)
    to_load: list[str] = field(default_factory=list)
    pulled: list[dict[str, Any]] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    freed_bytes: int = 0
    download_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    notes_before: list[str] = field(default_factory=list)
    notes_of_derived: list[str] = field(default_factory=list)
    notes_after: list[str] = field(default_factory=list)

    def results(self) -> dict[str, Any]:
        """The part of the module's results that a failed task returns too."""
        return {
            "version": self.version,
            "missing": self.missing,
            "outdated": [names.parse(self.before[key].name).short for key in self.newest],
            "pulled": self.pulled,
            "imported": self.imported,
            "uploads": self.uploads,
            "derived": self.made,
            "loaded": self.loaded,
            "removed": self.removed,
            "changed": bool(self.pulled or self.imported or self.made or self.loaded or self.removed),
        }


@dataclass(frozen=True)
class Work:
    """How the server is asked to work: how long it may be silent, in seconds, and where it is told how far it is."""

    silence_s: float
    file: progress.ProgressFile

    def begin(self, doing: str, name: names.Name) -> Callable[[dict[str, Any]], None]:
        """Tell that work on a model begins; returns what takes the server's lines about it. Both raise OSError."""
        on_its_way = progress.Progress(doing, name.short)
        self.file.write(on_its_way)

        def told(line: dict[str, Any]) -> None:
            on_its_way.add(line, time.monotonic())
            self.file.write(on_its_way)

        return told


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


def parse_wanted(params: dict[str, Any]) -> Wanted:
    """What the parameters ask for; raises TaskFailure for an invalid name or one that is to be two things."""
    entries, files = params["derived"], params["gguf"]
    made_names = [*(entry[key] for entry in entries for key in ("name", "from")), *(entry["name"] for entry in files)]
    parse_names([*params["names"], *made_names, *params["resident"]])
    pulled = parse_names(params["names"])
    made: dict[str, derived.Derived] = {}
    for entry in entries:
        name, base = names.parse(entry["name"]), names.parse(entry["from"])
        new = derived.Derived(name, base, entry["parameters"], entry["system"], entry["template"])
        if name.key in pulled or name.key == base.key:
            raise TaskFailure(f"{name.short} cannot be pulled and derived. Give the derived model a name of its own.")
        if not made.setdefault(name.key, new).same_as(new):
            raise TaskFailure(f"{name.short} is asked for twice and differently. Give each derived model its own name.")
    # What is only kept needs no sum.
    imported = parse_gguf(files) if params["state"] in _HOLDING else {}
    if params["state"] == "only":
        pulled |= parse_names([entry["name"] for entry in files])
    for key, entry in imported.items():
        if key in pulled or key in made:
            raise TaskFailure(
                f"{entry.name.short} cannot be made in two ways. Give the model of the file another name."
            )
    return Wanted(pulled, made, imported, parse_names(params["resident"]))


def parse_gguf(entries: list[dict[str, Any]]) -> dict[str, gguf.GgufModel]:
    """The models to make from files, by key; raises TaskFailure with every file that cannot be read."""
    found: dict[str, gguf.GgufModel] = {}
    problems = []
    for entry in entries:
        name = names.parse(entry["name"])
        digest = entry["sha256"]
        try:
            if digest is None:
                digest = gguf.file_digest(entry["path"])
        except OSError as error:
            problems.append(f"{entry['path']} cannot be read: {error.strerror}.")
            continue
        if not _SUM.fullmatch(digest):
            problems.append(f"{digest!r} is not a sum of {entry['path']}: write 64 hex digits.")
        own = {key: entry[key] for key in ("parameters", "system", "template", "quantize")}
        model = gguf.GgufModel(name, entry["path"], digest.lower(), **own)
        if found.setdefault(name.key, model) != model:
            problems.append(f"{name.short} is asked for twice and differently. Give each model its own name.")
    if problems:
        raise TaskFailure(" ".join(problems))
    return found


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


def kept_digests(client: api.Client) -> set[str]:
    """The digests of the models that stay in memory; raises api.ApiError."""
    return {loaded.digest for loaded in client.loaded() if loaded.forever}


def look(client: api.Client, wanted: Wanted, state: str, wait_s: float, check_mode: bool) -> Outcome:
    """Ask the server what it holds; raises TaskFailure when it does not answer."""
    try:
        version = client.wait(0 if check_mode else wait_s)
        held = held_models(client)
        outcome = Outcome(version, held, held, [name.short for key, name in wanted.pulled.items() if key not in held])
        if state in _HOLDING:
            see_imported(client, wanted, outcome)
            see_derived(client, wanted, outcome)
            see_resident(client, wanted, outcome)
    except api.Unreachable as error:
        if not check_mode:
            raise TaskFailure(
                f"No Ollama server answers at {error.url} after {wait_s:g} seconds: {error.reason}. "
                "Check that its container runs (docker ps) and that url is its address on this host."
            ) from error
        return Outcome(
            version="",
            before={},
            after={},
            missing=[name.short for name in wanted.pulled.values()],
            to_import=list(wanted.imported),
            uploads=[entry.digest for entry in wanted.imported.values()],
            to_make=list(wanted.derived),
            to_load=list(wanted.resident),
        )
    except api.OllamaError as error:
        raise TaskFailure(
            f"What answers at {client.url} is not a working Ollama server: HTTP status {error.status}, {error.text}. "
            "Check that url is the address of the Ollama container."
        ) from error
    return outcome


def see_imported(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note which models of files are not there or not as wanted, and which files; raises api.ApiError."""
    for key, entry in wanted.imported.items():
        if key in outcome.after:
            shown = client.show(outcome.after[key].name)
            if entry.is_as_wanted(shown):
                continue
            outcome.notes_before.append(f"{entry.name.short}: something else")
        outcome.to_import.append(key)
        if not client.has_blob(entry.digest):
            outcome.uploads.append(entry.digest)


def see_derived(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note which derived models are not there or not as wanted; raises api.ApiError."""
    bases: dict[str, api.Shown] = {}
    outcome.to_make, outcome.notes_of_derived = [], []
    for key, entry in wanted.derived.items():
        base_key = entry.base.key
        # With its base a derived model is made anew.
        if key not in outcome.after or base_key in outcome.newest or base_key in outcome.to_import:
            outcome.to_make.append(key)
            continue
        if base_key not in outcome.after:
            # Whether it still fits can be told when the base is there again.
            continue
        if base_key not in bases:
            bases[base_key] = client.show(outcome.after[base_key].name)
        shown = client.show(outcome.after[key].name)
        if not derived.is_as_wanted(entry, shown, bases[base_key]):
            outcome.to_make.append(key)
            outcome.notes_of_derived.append(derived.as_found(entry, shown, bases[base_key]))


def see_resident(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note which models are not kept in memory in the form in which they are held; raises api.ApiError."""
    kept = kept_digests(client) if wanted.resident else set()
    held = outcome.after
    changing = {*outcome.to_make, *outcome.to_import, *outcome.newest}
    outcome.to_load = [
        key for key in wanted.resident if key not in held or key in changing or held[key].digest not in kept
    ]


def see_what_follows(client: api.Client, wanted: Wanted, outcome: Outcome) -> None:
    """Note again what is to be derived and loaded, now that more is known of the bases; raises TaskFailure."""
    try:
        see_derived(client, wanted, outcome)
        see_resident(client, wanted, outcome)
    except api.ApiError as error:
        first = names.parse(next(iter(outcome.after.values())).name)
        raise change_failure("show", first, error, outcome) from error


def see_outdated(wanted: Wanted, registry_url: str, outcome: Outcome) -> None:
    """Note of which held models the registry has another version; raises TaskFailure with all that it does not tell."""
    problems = []
    for key, name in wanted.pulled.items():
        if key not in outcome.before:
            continue
        try:
            newest = registry.newest_digest(name.short, registry_url, _REGISTRY_SECONDS)
        except registry.RegistryError as error:
            problems.append(str(error))
            continue
        if newest != outcome.before[key].digest:
            outcome.newest[key] = newest
    if problems:
        raise TaskFailure(" ".join(["Whether there are newer models is not known.", *problems]), **outcome.results())


def see_room(params: dict[str, Any], wanted: Wanted, outcome: Outcome) -> None:
    """Note what is to be downloaded; raises TaskFailure when it does not fit or the registry does not know it."""
    outdated = [wanted.pulled[key].short for key in outcome.newest]
    to_pull = [*outcome.missing, *outdated]
    if not params["models_dir"] or not to_pull:
        return
    ask = partial(registry.model_layers, registry_url=params["registry"], timeout_s=_REGISTRY_SECONDS)
    sizes = size_models(to_pull, ask, read_path(params["models_dir"]), _REGISTRY_SECONDS, outdated)
    problems = model_problems(sizes)
    if problems:
        raise TaskFailure(" ".join(["Nothing was pulled.", *problems]), **outcome.results())
    outcome.download_bytes = sizes["missing_bytes"]
    outcome.warnings = size_warnings(sizes)


def pull_missing(client: api.Client, wanted: dict[str, names.Name], work: Work, outcome: Outcome) -> None:
    """Pull what is not held, or in an older version; raises TaskFailure at the first model that fails."""
    for key, name in wanted.items():
        if key in outcome.after and key not in outcome.newest:
            continue
        started = time.monotonic()
        try:
            client.pull(name.short, work.silence_s, work.begin("pulling", name))
            outcome.after = held_models(client)
        except api.ApiError as error:
            raise change_failure("pull", name, error, outcome) from error
        if key not in outcome.after:
            raise TaskFailure(
                f"Ollama reported that it pulled {name.short}, but does not list it. {_OTHER_HINT}", **outcome.results()
            )
        model = outcome.after[key]
        if key in outcome.newest and model.digest == outcome.before[key].digest:
            raise TaskFailure(
                f"Ollama pulled {name.short} again and still holds {model.digest[:12]}, not {outcome.newest[key][:12]} "
                "as the registry. Check that both ask the same registry.",
                **outcome.results(),
            )
        outcome.pulled.append(
            {
                "name": name.short,
                "bytes": model.size,
                "seconds": round(time.monotonic() - started, 1),
                "digest": model.digest,
            }
        )


def import_files(client: api.Client, wanted: Wanted, work: Work, outcome: Outcome) -> None:
    """Upload the files and make their models; raises TaskFailure at the first that fails."""
    for key in outcome.to_import:
        entry = wanted.imported[key]
        source: dict[str, Any] = {"files": {entry.file_name: f"sha256:{entry.digest}"}, "license": entry.mark}
        if entry.quantize:
            source["quantize"] = entry.quantize
        try:
            if entry.digest in outcome.uploads and not client.has_blob(entry.digest):
                client.upload(entry.digest, entry.path, work.silence_s, work.begin("uploading", entry.name))
            told = work.begin("making", entry.name)
            client.create(entry.name.short, source, dict(entry.parameters), entry.texts, work.silence_s, told)
            outcome.after = held_models(client)
            made = outcome.after.get(key)
            as_wanted = made is not None and entry.is_as_wanted(client.show(made.name))
        except OSError as error:
            raise TaskFailure(f"{entry.path} cannot be read: {error.strerror}.", **outcome.results()) from error
        except api.ApiError as error:
            raise change_failure("make", entry.name, error, outcome) from error
        if not as_wanted:
            raise TaskFailure(
                f"Ollama reported that it made {entry.name.short} from {entry.path}, but it is not what was asked for. "
                f"Check that Ollama knows {', '.join([*entry.parameters, *entry.texts]) or 'the file'}.",
                **outcome.results(),
            )
        outcome.imported.append(entry.name.short)


def make_derived(client: api.Client, wanted: Wanted, work: Work, outcome: Outcome) -> None:
    """Make the derived models that are not there or not as wanted; raises TaskFailure at the first that fails."""
    for key in outcome.to_make:
        entry = wanted.derived[key]
        work.begin("making", entry.name)
        try:
            source = {"from": entry.base.short}
            client.create(entry.name.short, source, dict(entry.parameters), entry.texts, work.silence_s)
            outcome.after = held_models(client)
            made = outcome.after.get(key)
            as_wanted = made is not None and derived.is_as_wanted(
                entry, client.show(made.name), client.show(entry.base.short)
            )
        except api.ApiError as error:
            raise change_failure("make", entry.name, error, outcome) from error
        if not as_wanted:
            raise TaskFailure(
                f"Ollama reported that it made {entry.name.short} from {entry.base.short}, but it is not what was "
                f"asked for. Check that Ollama knows {', '.join([*entry.parameters, *entry.texts])}.",
                **outcome.results(),
            )
        outcome.made.append(entry.name.short)


def load_resident(client: api.Client, wanted: Wanted, work: Work, outcome: Outcome) -> None:
    """Load what is to stay in memory; raises TaskFailure at the first that fails, or when not all of them stay."""
    for key in outcome.to_load:
        name = wanted.resident[key]
        work.begin("loading", name)
        try:
            client.keep_loaded(name.short, work.silence_s)
        except api.ApiError as error:
            raise change_failure("load", name, error, outcome) from error
        outcome.loaded.append(name.short)
    if not outcome.to_load:
        return
    try:
        kept = kept_digests(client)
    except api.ApiError as error:
        raise change_failure("load", wanted.resident[outcome.to_load[-1]], error, outcome) from error
    left = [name.short for key, name in wanted.resident.items() if outcome.after[key].digest not in kept]
    if left:
        raise TaskFailure(
            f"Ollama does not keep all {len(wanted.resident)} resident models in memory: {', '.join(left)} had to go. "
            "Raise ollama_max_loaded_models or the memory of Ollama, or declare fewer models with resident: true.",
            **outcome.results(),
        )


def to_remove(state: str, wanted: Wanted, outcome: Outcome) -> dict[str, str]:
    """The names by key of what is held and shall go."""
    held = outcome.before
    if state == "absent":
        return {key: name.short for key, name in wanted.pulled.items() if key in held}
    # A name of a form that cannot be declared is not for this module to judge.
    return {
        key: model.name
        for key, model in held.items()
        if key not in wanted.pulled and key not in wanted.derived and key not in wanted.imported and key != model.name
    }


def count_freed(client: api.Client, removed: dict[str, str], outcome: Outcome) -> None:
    """Note how much disk the removal frees; raises TaskFailure when the server does not tell."""
    held = outcome.before
    kept = [model for key, model in held.items() if key not in removed]

    def weights(model: api.Model) -> tuple[str, ...]:
        return client.show(model.name).weights

    try:
        outcome.freed_bytes = disk.freed_bytes([held[key] for key in removed], kept, weights)
    except api.ApiError as error:
        first = names.parse(next(iter(removed.values())))
        raise change_failure("show", first, error, outcome) from error


def remove_held(client: api.Client, removed: dict[str, str], outcome: Outcome) -> None:
    """Remove what is held, from memory first; raises TaskFailure at the first model that fails."""
    for key, name in removed.items():
        held = outcome.before[key].name
        try:
            if any(loaded.name == held for loaded in client.loaded()):
                client.unload(held)
            client.delete(held)
            outcome.removed.append(name)
            outcome.after = held_models(client)
        except api.ApiError as error:
            raise change_failure("remove", names.parse(name), error, outcome) from error


def change_failure(verb: str, name: names.Name, error: api.ApiError, outcome: Outcome) -> TaskFailure:
    """The failure to report when Ollama could not do something with a model."""
    text = str(error)
    hint = next((hint for part, hint in _HINTS if part in text.lower()), _OTHER_HINT)
    done = [*(entry["name"] for entry in outcome.pulled), *outcome.imported, *outcome.made, *outcome.removed]
    return TaskFailure(
        f"Ollama {outcome.version} could not {verb} {name.short}: {' '.join(text.split()).rstrip('.')}. {hint} "
        f"Done before it: {', '.join(done) or 'nothing'}.",
        **({"ollama_message": error.text} if isinstance(error, api.OllamaError) else {}),
        **outcome.results(),
    )


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
    if state in _HOLDING:
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
        check_mode and state in _HOLDING and bool(outcome.missing or outcome.newest)
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
