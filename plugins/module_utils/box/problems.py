"""What stands in the gateway's way on a box, each as one text that says what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..gpu.report import gpu_problems
from .fit import memory_problems
from .install import SUPPORTED, UnsupportedOs, docker_install_plan, supported_system

if TYPE_CHECKING:
    from .shapes import BoxFacts, DockerFacts, FileFacts, ModelsFacts, OsFacts, PortFacts, PortHolder, UidFacts, Wanted

ARCHITECTURES = ("amd64", "arm64")
# community.docker's docker_compose_v2 refuses an older one (MINIMUM_COMPOSE_VERSION in its module_utils/compose_v2.py).
COMPOSE_FLOOR = (2, 18, 0)
# The oldest engine on which the gateway's Compose files were brought up (Debian 12's, with Compose 2.26).
ENGINE_FLOOR = (20, 10, 0)
_GIB = 1024**3
# Room to leave beside the models: a tenth of what is downloaded, and never less than this.
DISK_MARGIN_BYTES = 2 * _GIB
_DISK_MARGIN_SHARE = 10
_MODELS_FILE = "group_vars/all/models.yml"
_GATEWAY_FILE = "group_vars/all/gateway.yml"
_PODMAN = (
    "The command `docker` on this box is podman's stand-in, which the gateway does not run on. "
    "Remove the package podman-docker and run again."
)
_SNAP = (
    "Docker on this box is the snap package, which cannot read the gateway's files in /opt. "
    "Remove it (`snap remove docker`) and run again."
)
_NOT_ALLOWED = (
    "Docker is missing and docker_install is false. Install Docker Engine with Compose v2 "
    "(https://docs.docker.com/engine/install/), or set docker_install: true."
)
_RPM_IN_THE_WAY = (
    "Docker is missing, and its package containerd.io cannot be installed beside the package {name} of this box. "
    "Run `dnf remove {name}`, which lists what else goes with it before it asks, and run again."
)
_COMPOSE_PAGE = "https://docs.docker.com/compose/install/linux/"


def box_problems(facts: BoxFacts, wanted: Wanted) -> list[str]:
    """Every problem at once; none means that the gateway can be set up.

    ``wanted`` holds ``docker_install`` and ``allow_unsupported_os`` (bools); ``ports``, a list of mappings with
    ``address``, ``port``, ``variable`` (what sets the port) and optionally ``project`` (our own Compose project, which
    may hold the port), ``file`` (where ``variable`` stands), ``address_variable`` and ``address_file``; and ``uids``,
    a list of mappings with ``uid`` and ``variable``, and optionally the ``folder`` that the user keeps things in and
    its ``folder_variable``; and ``files``, a list of mappings with ``path``, ``uid`` (who reads it), ``variable`` (what
    sets the path) and ``file`` (where that stands). With ``serving``, a ``fit.Serving``, the memory and the GPUs are
    looked at too.
    """
    return [
        *_system_problems(facts, wanted),
        *docker_problems(facts, install=bool(wanted["docker_install"])),
        *_port_problems(facts["ports"], wanted),
        *_uid_problems(facts["uids"], wanted),
        *_file_problems(facts["files"], wanted),
        *model_problems(facts["models"]),
        *(_serving_problems(facts, wanted) if "serving" in wanted else []),
    ]


def _serving_problems(facts: BoxFacts, wanted: Wanted) -> list[str]:
    gpu, serving = facts["gpu"], wanted["serving"]
    # A box that serves no model, by Ollama or from a file, needs no GPU either.
    serves = serving["models"] or wanted.get("files")
    in_the_way = gpu_problems(gpu, serving["gpu_devices"]) if gpu and serves else []
    # Which memory there is depends on the GPUs.
    return in_the_way or memory_problems(facts, serving)


def box_warnings(facts: BoxFacts, wanted: Wanted) -> list[str]:
    """What the user should know, though the gateway can be set up."""
    warnings = []
    if supported_system(facts["os"]) is None and wanted["allow_unsupported_os"]:
        warnings.append(
            f"{facts['os']['pretty_name']} is not among the supported systems ({SUPPORTED}); "
            "going on because preflight_allow_unsupported_os is true."
        )
    docker = facts["docker"]
    if docker["engine"] and not docker["running"] and docker["service"]["state"] == "inactive":
        warnings.append("Docker is installed but stopped; this run starts it and has it start at boot.")
    if not facts["curl"]:
        warnings.append("The box has no curl: install curl to try the receipt's command.")
    return [*warnings, *size_warnings(facts["models"])]


def docker_problems(facts: BoxFacts, *, install: bool) -> list[str]:
    """What is wrong with Docker, or with getting it when it is missing and ``install`` allows that."""
    docker = facts["docker"]
    if docker["kind"] == "podman":
        return [_PODMAN]
    if docker["kind"] == "snap":
        return [_SNAP]
    if not (docker["client"] and docker["engine"]):
        return _missing_problems(facts, install=install)
    return [*_stopped_problems(docker), *_version_problems(docker, facts["os"])]


def _system_problems(facts: BoxFacts, wanted: Wanted) -> list[str]:
    problems = []
    if supported_system(facts["os"]) is None and not wanted["allow_unsupported_os"]:
        problems.append(
            f"{facts['os']['pretty_name']} is not among the supported systems: {SUPPORTED}. "
            "To try it all the same, set preflight_allow_unsupported_os: true for this host."
        )
    if facts["os"]["arch"] not in ARCHITECTURES:
        problems.append(
            f"The box's architecture is {facts['os']['arch']}; the gateway's images exist for "
            f"{' and '.join(ARCHITECTURES)} only."
        )
    if not facts["systemd"]:
        problems.append(
            "systemd does not run this box, and the gateway needs it to start Docker at boot. "
            "Use a machine, a virtual machine or a container that systemd boots."
        )
    return problems


def _missing_problems(facts: BoxFacts, *, install: bool) -> list[str]:
    if not install:
        return [_NOT_ALLOWED]
    try:
        plan = docker_install_plan(facts["os"])
    except UnsupportedOs as error:
        return [str(error)]
    problems = []
    if plan["manager"] == "dnf":
        problems += [_RPM_IN_THE_WAY.format(name=name) for name in facts["rpms_in_the_way"]]
    asked = facts["docker_repository"]
    if not plan["repository"] or not asked or asked["reachable"]:
        return problems
    problem = (
        f"Docker is missing, and its package repository does not answer: {asked['url']} ({asked['error']}). "
        "Let this box reach it, directly or by a proxy in its environment (https_proxy), or install Docker Engine "
        "with Compose v2 yourself and run again."
    )
    return [*problems, problem]


def _stopped_problems(docker: DockerFacts) -> list[str]:
    if docker["running"]:
        return []
    state = docker["service"]["state"]
    reason = f": {docker['error'].rstrip('.')}" if docker["error"] else ""
    advice = {
        "inactive": "",
        "active": f"Docker's service is active, but its engine does not answer{reason}. "
        "`journalctl -u docker` tells why.",
        "failed": "Docker's service has failed. `journalctl -u docker` tells why; "
        "when `systemctl restart docker` works, run again.",
        "masked": "Docker is installed, but its service is masked. "
        "Run `systemctl unmask docker.service` and run again.",
        "missing": f"Docker is installed but not running{reason}, and it has no service docker.service that could be "
        "started. Start the engine, or install it from packages, and run again.",
    }
    problem = advice.get(state, f"Docker's service is {state}{reason}. Wait until it is active and run again.")
    return [problem] if problem else []


def _version_problems(docker: DockerFacts, os_facts: OsFacts) -> list[str]:
    problems = []
    engine, compose = docker["engine_version"], docker["compose_version"]
    if _older(engine, ENGINE_FLOOR):
        problems.append(
            f"Docker Engine {engine} is too old; the gateway needs {_dotted(ENGINE_FLOOR)} or newer. "
            "Upgrade it (https://docs.docker.com/engine/install/) and run again."
        )
    if not compose:
        problems.append(f"Docker is here, but not Compose v2 (`docker compose`). {_compose_advice(docker, os_facts)}")
    elif _older(compose, COMPOSE_FLOOR):
        problems.append(
            f"Docker Compose {compose} is too old; the gateway needs {_dotted(COMPOSE_FLOOR)} or newer. "
            f"Upgrade the package it came from, or see {_COMPOSE_PAGE}."
        )
    return problems


def _compose_advice(docker: DockerFacts, os_facts: OsFacts) -> str:
    own = {
        ("debian", "13"): "apt-get install docker-compose",
        ("ubuntu", "22.04"): "apt-get install docker-compose-v2",
        ("ubuntu", "24.04"): "apt-get install docker-compose-v2",
    }.get((os_facts["id"], os_facts["version_id"]))
    system = supported_system(os_facts)
    tool = "dnf" if system and system.manager == "dnf" else "apt-get"
    community = f"{tool} install docker-compose-plugin"
    if docker["edition"] == "community" or (system and system.manager == "dnf"):
        return f"Run `{community}` and run again."
    if own:
        other = "" if docker["edition"] else f" (`{community}` where Docker came from Docker's own repository)"
        return f"Run `{own}`{other} and run again."
    if (os_facts["id"], os_facts["version_id"]) == ("debian", "12"):
        return (
            "Debian 12 has no package of it. Remove its Docker (`apt-get remove docker.io`) and run again: Docker is "
            f"then installed from Docker's own repository. Or add the Compose plugin by hand: {_COMPOSE_PAGE}."
        )
    return f"Install it ({_COMPOSE_PAGE}) and run again."


def _port_problems(ports: list[PortFacts], wanted: Wanted) -> list[str]:
    wishes = {(str(wish["address"]), int(wish["port"])): wish for wish in wanted["ports"]}
    problems = [_port_problem(port, wishes[port["address"], port["port"]]) for port in ports]
    return [problem for problem in problems if problem]


def _port_problem(port: PortFacts, wish: Wanted) -> str:
    host = f"[{port['address']}]" if ":" in port["address"] else port["address"]
    where = f"{host}:{port['port']}"
    port_place = f"{wish['variable']} ({wish.get('file', _GATEWAY_FILE)})"
    address_place = f"{wish.get('address_variable', 'llm_bind_address')} ({wish.get('address_file', 'the inventory')})"
    if port["state"] == "no_address":
        return (
            f"{where}: this box has no address {port['address']} ({port['detail']}). "
            f"Write one of its addresses in {address_place}."
        )
    if port["state"] == "invalid":
        return (
            f"{where} cannot be listened on ({port['detail']}). Correct {address_place} or {port_place}: "
            "an IP address and a port from 1 to 65535."
        )
    own = wish.get("project")
    others = [holder for holder in port["holders"] if not (own and holder["project"] == own)]
    if port["state"] == "free" or (port["holders"] and not others):
        return ""
    by = " and ".join(dict.fromkeys(_holder(holder) for holder in others))
    taken = f"taken by {by}" if by else f"taken; `ss -ltnp 'sport = :{port['port']}'` on the box tells by what"
    return f"Port {where} is {taken}. Stop that, or write another port in {port_place}."


def _holder(holder: PortHolder) -> str:
    if holder["container"]:
        project = f" of the Compose project {holder['project']}" if holder["project"] else ""
        return f"the container {holder['container']}{project}"
    if holder["pid"]:
        return f"{holder['process']} (pid {holder['pid']})"
    return "a program that could not be identified"


def _uid_problems(uids: list[UidFacts], wanted: Wanted) -> list[str]:
    known = {found["uid"]: found for found in uids}
    problems = []
    for wish in wanted["uids"]:
        found = known[int(wish["uid"])]
        account = f"the account {found['account']}" if found["account"] else ""
        group = f"the group {found['group']}" if found["group"] else ""
        holders = " and ".join(holder for holder in (account, group) if holder)
        if holders:
            problems.append(
                f"The number {found['uid']} ({wish['variable']}) belongs to {holders} of this box, who could then read "
                f"the container's files. Set {wish['variable']} in {_GATEWAY_FILE} to a number that nobody has."
            )
        if found["strangers"]:
            names = ", ".join(found["strangers"][:3])
            problems.append(
                f"{wish['folder']} holds files of another owner ({names}), which a container's user {found['uid']} "
                f"cannot use. Name an empty folder in {wish['folder_variable']} ({_GATEWAY_FILE}), or give them over: "
                f"chown -R {found['uid']}:{found['uid']} {wish['folder']}"
            )
    return problems


def _file_problems(files: list[FileFacts], wanted: Wanted) -> list[str]:
    problems = []
    for found, wish in zip(files, wanted.get("files", ())):
        place = f"{wish['variable']} ({wish['file']})"
        if found["state"] == "missing":
            problems.append(f"The box has no file {found['path']}. Copy it there, or correct {place}.")
        elif found["state"] == "other":
            problems.append(f"{found['path']} on the box is no file. Name the file itself in {place}.")
        elif not found["readable"]:
            problems.append(
                f"{found['path']} ({wish['variable']}) cannot be read by {wish['uid']}, the user of the container. "
                f"Run on the box: chmod a+r {found['path']}"
            )
    return problems


def model_problems(models: ModelsFacts) -> list[str]:
    """What is wrong with the names of models, and with the room for those that are to be downloaded."""
    problems = [
        f"Ollama's registry has no model {model['name']}. Correct the name in llm_models ({_MODELS_FILE}); "
        "https://ollama.com/library lists what there is."
        for model in models["items"]
        if model["state"] == "unknown"
    ]
    problems += [
        f"{model['detail']} Correct it in llm_models ({_MODELS_FILE})."
        for model in models["items"]
        if model["state"] == "invalid"
    ]
    return [*problems, *_disk_problems(models)]


def _disk_problems(models: ModelsFacts) -> list[str]:
    room, missing = models["directory"], models["missing_bytes"]
    if room is None or missing == 0:
        return []
    margin = max(missing // _DISK_MARGIN_SHARE, DISK_MARGIN_BYTES)
    short = missing + margin - room["free_bytes"]
    if short <= 0:
        return []
    sizes = ", ".join(
        f"{model['name']} {_gib(model['missing_bytes'])}" for model in models["items"] if model["missing_bytes"]
    )
    problem = (
        f"Too little disk for the declared models: {_gib(missing)} are to be downloaded ({sizes}) and {_gib(margin)} "
        f"are to stay free, but {room['path']} has {_gib(room['free_bytes'])} free. Free {_gib(short)} there, "
        f"name a folder on a larger disk in llm_models_dir ({_GATEWAY_FILE}), or take models out of llm_models "
        f"({_MODELS_FILE})."
    )
    return [problem]


def size_warnings(models: ModelsFacts) -> list[str]:
    """Of which models the room is not known, and why."""
    warnings = []
    silent = [model for model in models["items"] if model["state"] == "unreachable"]
    if silent:
        warnings.append(
            f"The sizes of {', '.join(model['name'] for model in silent)} are not known, so the room for them is not "
            f"checked: {silent[0]['detail'].rstrip('.')}."
        )
    elsewhere = [model["name"] for model in models["items"] if model["state"] == "elsewhere"]
    if elsewhere:
        warnings.append(
            f"{', '.join(elsewhere)}: not from Ollama's registry, so neither the name nor the room for it is checked."
        )
    return warnings


def _older(version: str, floor: tuple[int, int, int]) -> bool:
    """Whether a version is below the floor; one without a number, such as a self-built "dev", is not judged."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return match is not None and tuple(int(part or 0) for part in match.groups()) < floor


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(part) for part in version)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
