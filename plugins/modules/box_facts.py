#!/usr/bin/python
# Copyright: LLM gateway authors
# MIT License (see LICENSE)
"""Collect what the gateway has to know about a box, in one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: box_facts
short_description: Collect what the gateway has to know about a box
description:
  - Reads the operating system, Docker, ports, accounts, disk space and the sizes of Ollama models, and judges nothing.
  - Changes nothing on the box. To see whether a port can be had it is bound for a moment, never listened on.
  - Everything that waits for an answer is asked side by side.
version_added: 0.1.0
author: LLM gateway authors (@homelab)
options:
  ports:
    description:
      - The addresses and ports that the gateway wants, each a mapping with O(ports[].address) (an IP address) and
        O(ports[].port).
      - Other keys of a mapping are ignored, so a list that also says where a port is set can be given whole.
    type: list
    elements: dict
    default: []
  uids:
    description:
      - The numbers that users of containers get, each a mapping with O(uids[].uid) and, where such a user keeps things,
        the folder C(folder).
      - Other keys of a mapping are ignored.
    type: list
    elements: dict
    default: []
  files:
    description:
      - Files that containers are to read, each a mapping with O(files[].path) and, under O(files[].uid), the number of
        the user who reads it.
      - Other keys of a mapping are ignored.
    type: list
    elements: dict
    default: []
  models:
    description: Names of Ollama models. The sizes of those that are not on the box are asked of O(ollama_registry).
    type: list
    elements: str
    default: []
  models_dir:
    description:
      - The directory that holds Ollama's models, or will. What is there already need not be loaded again.
      - Where it is missing, its nearest directory that exists tells the room.
    type: path
  ollama_registry:
    description: Address of Ollama's registry.
    type: str
    default: https://registry.ollama.ai
  check_docker_repository:
    description: Where Docker is missing and would come from Docker's own package repository, ask whether that answers.
    type: bool
    default: false
  docker_network:
    description: Name of a Docker network that is looked for.
    type: str
    default: ""
  docker_images:
    description: Images that are looked for in Docker.
    type: list
    elements: str
    default: []
  ollama_container:
    description:
      - The container in which Ollama runs, or will run. It tells more of the models it holds than their size.
    type: str
    default: ""
  gpu:
    description:
      - Look for GPUs too, and tell where Ollama should run, as the option C(mode) of M(homelab.llm_gateway.gpu_facts)
        says.
    type: str
    choices: [auto, nvidia, rocm, vulkan, cpu, required]
  answer_timeout:
    description: Longest wait for Docker, and then for the registry and repository together, in seconds.
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
- name: Look at the box
  homelab.llm_gateway.box_facts:
    ports: [{address: 127.0.0.1, port: 4000}]
    models: ["smollm2:135m"]
    models_dir: /var/lib/llm-gateway/ollama
  register: looked
"""

RETURN = r"""
box:
  description: What was found. Sizes are bytes. plugins/module_utils/box/shapes.py describes every key.
  returned: always
  type: dict
  contains:
    os:
      description:
        - The keys id, version_id, codename, pretty_name, arch (amd64, arm64 or another) and kernel (its release).
      type: dict
    memory_bytes:
      description: Memory of the box.
      type: int
    systemd:
      description: Whether systemd is the init system.
      type: bool
    curl:
      description: Whether the command curl is there.
      type: bool
    docker:
      description:
        - The keys client, engine, kind (docker, snap, podman, none), edition (community, distribution), running,
          engine_version, compose_version and error.
        - The key service (state, enabled, log_flags), the key daemon_config (error, and under log only what
          concerns logging), and network_exists and images_missing, which are null when the engine does not answer.
      type: dict
    docker_repository:
      description: The keys url, reachable and error; null when it was not asked.
      type: dict
    rpms_in_the_way:
      description: Where Docker is missing, the installed packages that keep Docker's own from being installed.
      type: list
      elements: str
    ports:
      description:
        - For each wanted port address, port, state (free, taken, no_address, invalid), detail, and under holders
          the address, pid, process, container and project of whoever holds it.
      type: list
      elements: dict
    uids:
      description:
        - For each number uid, the account and the group that have it, empty where nobody does, and strangers, the names
          in its folder that belong to somebody else.
      type: list
      elements: dict
    files:
      description:
        - For each of O(files) path, state (file, missing, other) and readable, whether that user can read it.
      type: list
      elements: dict
    models:
      description:
        - The key directory (path and free_bytes) and the key missing_bytes, where a layer that two models share
          counts once.
        - The key items with name, state (held, known, unknown, unreachable, elsewhere, invalid), bytes, missing_bytes
          and detail of each model.
      type: dict
    gpu:
      description: The result C(gpu) of M(homelab.llm_gateway.gpu_facts); null when O(gpu) is not set.
      type: dict
    shapes:
      description:
        - For each model of which O(ollama_container) tells it bytes_per_token, context_limit and has_projector.
      type: dict
"""

import http.client
import urllib.error
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as UrlsConnectionError
from ansible.module_utils.urls import open_url

from ..module_utils.box.docker import command_runner, find_command, installed_rpms, read_docker
from ..module_utils.box.held import read_shapes
from ..module_utils.box.install import RPMS_IN_THE_WAY, UnsupportedOs, docker_install_plan
from ..module_utils.box.models import size_models
from ..module_utils.box.parallel import run_all
from ..module_utils.box.ports import read_ports
from ..module_utils.box.system import read_file, read_memory, read_os, read_path, read_uid, runs_systemd
from ..module_utils.gpu.facts import gpu_facts, without_cuda
from ..module_utils.gpu.toolkit import engine_problem
from ..module_utils.gpu.tree import Tree
from ..module_utils.gpu.verdict import MODES
from ..module_utils.ollama.registry import model_layers

if TYPE_CHECKING:
    from ..module_utils.box.shapes import BoxFacts, DockerFacts, OsFacts, RepositoryFacts


def wanted_ports(entries: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The address and port of every entry. Raises ValueError that names the entry which lacks one."""
    try:
        return [(str(entry["address"]), int(entry["port"])) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"ports: each entry needs an address and a port that is a number; got {entries}") from error


def wanted_uids(entries: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """The number and the folder of every entry. Raises ValueError that shows the entries when one lacks it."""
    try:
        return [(int(entry["uid"]), str(entry.get("folder", ""))) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"uids: each entry needs a uid that is a number; got {entries}") from error


def wanted_files(entries: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The path and the reader of every entry. Raises ValueError that shows the entries when one lacks them."""
    try:
        return [(str(entry["path"]), int(entry["uid"])) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"files: each entry needs a path and a uid that is a number; got {entries}") from error


def ask_repository(os_facts: OsFacts, docker: DockerFacts, timeout_s: float) -> RepositoryFacts | None:
    """Ask Docker's repository for a small file of this system's; None where Docker would not come from there."""
    if docker["client"] and docker["engine"]:
        return None
    try:
        repository = docker_install_plan(os_facts)["repository"]
    except UnsupportedOs:
        return None
    if repository is None:
        return None
    url = repository["probe_url"]
    try:
        open_url(url, timeout=timeout_s, use_netrc=False).close()
    except urllib.error.HTTPError as error:
        return {"url": url, "reachable": False, "error": f"HTTP {error.code} {error.reason}"}
    except (OSError, http.client.HTTPException, UrlsConnectionError) as error:
        return {"url": url, "reachable": False, "error": str(getattr(error, "reason", "") or error)}
    return {"url": url, "reachable": True, "error": ""}


def collect(params: dict[str, Any]) -> BoxFacts:
    """Everything the options ask for. Raises ValueError for an option that cannot be used."""
    timeout_s = float(params["answer_timeout"])
    ports = wanted_ports(params["ports"])
    uids = wanted_uids(params["uids"])
    files = wanted_files(params["files"])
    os_facts = read_os()
    run = command_runner(timeout_s)
    docker, published = read_docker(
        run,
        params["docker_network"],
        params["docker_images"],
        [port for _, port in ports],
        timeout_s,
    )
    layers = partial(model_layers, registry_url=params["ollama_registry"], timeout_s=timeout_s)
    directory = read_path(params["models_dir"]) if params["models_dir"] else None
    calls: dict[str, Callable[[], Any]] = {
        "models": partial(size_models, params["models"], layers, directory, timeout_s),
    }
    if params["ollama_container"]:
        calls["shapes"] = partial(read_shapes, run, params["ollama_container"], params["models"], timeout_s)
    if params["gpu"]:
        calls["gpu"] = partial(gpu_facts, Tree(Path("/")), run, params["gpu"])
    if params["check_docker_repository"]:
        calls["repository"] = partial(ask_repository, os_facts, docker, timeout_s)
    # Each call keeps to the time-out itself; the spare second is for the one that does so at the last moment.
    outcomes = run_all(calls, timeout_s + 1)
    for name, outcome in outcomes.items():
        # Without shapes the memory is estimated.
        if outcome.error is not None and name != "shapes":
            raise outcome.error
    gpu = outcomes["gpu"].value if "gpu" in outcomes else None
    in_the_way = engine_problem(docker["engine_version"])
    if gpu is not None and in_the_way:
        gpu = without_cuda(gpu, in_the_way, params["gpu"])
    return {
        "os": os_facts,
        "memory_bytes": read_memory(),
        "systemd": runs_systemd(),
        "curl": bool(find_command("curl")),
        "docker": docker,
        "docker_repository": outcomes["repository"].value if "repository" in outcomes else None,
        "rpms_in_the_way": [] if docker["client"] and docker["engine"] else installed_rpms(run, RPMS_IN_THE_WAY),
        "ports": read_ports(ports, published),
        "uids": [read_uid(uid, folder) for uid, folder in uids],
        "files": [read_file(path, uid) for path, uid in files],
        "models": outcomes["models"].value,
        "gpu": gpu,
        "shapes": (outcomes["shapes"].value or {}) if "shapes" in outcomes else {},
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "dict", "default": []},
            "uids": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "dict", "default": []},
            "models": {"type": "list", "elements": "str", "default": []},
            "models_dir": {"type": "path"},
            "ollama_registry": {"type": "str", "default": "https://registry.ollama.ai"},
            "check_docker_repository": {"type": "bool", "default": False},
            "docker_network": {"type": "str", "default": ""},
            "docker_images": {"type": "list", "elements": "str", "default": []},
            "ollama_container": {"type": "str", "default": ""},
            "gpu": {"type": "str", "choices": list(MODES)},
            "answer_timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    try:
        box = collect(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, box=box)


if __name__ == "__main__":
    main()
