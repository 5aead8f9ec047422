"""Docker as the box's own command line tells it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from .daemon import PATH, DaemonConfigError, log_part, parse_daemon_json
from .parallel import run_all
from .ports import Publication, parse_published

if TYPE_CHECKING:
    from .shapes import DaemonConfigFacts, DockerFacts, ServiceFacts

# A non-login shell of root may lack some of these.
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
_LOG_FLAGS = re.compile(r"--log-(driver|opt)\b")
_UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "MainPID", "ExecStart")
_PS_FORMAT = '{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Ports}}'
_ENABLED_STATES = ("enabled", "enabled-runtime", "static", "generated")


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


Runner = Callable[[Sequence[str]], Answer]


class Engine(NamedTuple):
    """What `docker info` tells."""

    kind: str
    edition: str
    running: bool
    engine_version: str
    compose_version: str
    error: str


def command_runner(timeout_s: float) -> Runner:
    """A runner that gives a command ``timeout_s`` seconds and answers in English, whatever the box's language."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}"}

    def run(command: Sequence[str]) -> Answer:
        try:
            done = subprocess.run(
                list(command), capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
            )
        except FileNotFoundError as error:
            return Answer(127, "", str(error))
        except subprocess.TimeoutExpired:
            return Answer(124, "", f"`{' '.join(command[:2])}` gave no answer within {timeout_s:g} s")
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def find_command(name: str) -> str:
    """The path of a command, or an empty text."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}") or ""


def installed_rpms(run: Runner, names: Sequence[str]) -> list[str]:
    """Those of the packages that are installed; none where there is no rpm."""
    return [name for name in names if run(["rpm", "--query", "--quiet", name]).code == 0]


def parse_info(answer: Answer) -> Engine:
    """Read the answer to `docker info --format '{{json .}}'`; Docker prints it without an engine as well."""
    try:
        info: dict[str, Any] = json.loads(answer.out)
    except ValueError:
        return Engine("docker", "", False, "", "", _first_line(answer.err) or "`docker info` gave no readable answer")
    if "ClientInfo" not in info:
        # podman-docker answers with `podman info`, which has neither this key nor Docker's others.
        return Engine("podman", "", False, "", "", "")
    client = info["ClientInfo"]
    plugins = {plugin.get("Name"): plugin for plugin in client.get("Plugins") or []}
    platform = (client.get("Platform") or {}).get("Name", "")
    version = info.get("ServerVersion") or ""
    errors = info.get("ServerErrors") or []
    return Engine(
        kind="docker",
        edition=("community" if "Community" in platform else "distribution") if client.get("Version") else "",
        running=bool(version) and not errors,
        engine_version=version,
        compose_version=plugins.get("compose", {}).get("Version") or "",
        error="; ".join(errors) or ("" if version else _first_line(answer.err)),
    )


def parse_service(answer: Answer, command_line: Callable[[str], str]) -> ServiceFacts:
    """Read `systemctl show docker.service`; ``command_line`` gives the command line of a pid."""
    values = dict(line.partition("=")[::2] for line in answer.out.splitlines())
    loaded = values.get("LoadState", "")
    state = values.get("ActiveState", "")
    if answer.code != 0 or loaded in ("", "not-found"):
        state = "missing"
    elif loaded == "masked":
        state = "masked"
    flags = values.get("ExecStart", "") + " " + command_line(values.get("MainPID", "0"))
    return {
        "state": state,
        "enabled": values.get("UnitFileState", "") in _ENABLED_STATES,
        "log_flags": bool(_LOG_FLAGS.search(flags)),
    }


def process_command_line(pid: str) -> str:
    """The command line of a running process, or an empty text for the pid 0 and for one that has ended."""
    try:
        return Path("/proc", pid, "cmdline").read_text(encoding="utf-8").replace("\0", " ") if pid != "0" else ""
    except FileNotFoundError:
        return ""


def read_daemon_config(path: str = PATH) -> DaemonConfigFacts:
    """The logging part of daemon.json, and why it cannot be read if it cannot."""
    try:
        config = parse_daemon_json(Path(path).read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return {"error": "", "log": {}}
    except DaemonConfigError as error:
        return {"error": str(error), "log": {}}
    except (OSError, UnicodeDecodeError) as error:
        return {"error": f"{path} cannot be read: {error}.", "log": {}}
    return {"error": "", "log": log_part(config)}


def read_docker(
    run: Runner, network: str, images: Sequence[str], ports: Sequence[int], timeout_s: float
) -> tuple[DockerFacts, list[Publication]]:
    """Everything about Docker, asked side by side, and what it publishes on ``ports``.

    ``network`` may be empty: then no network is looked for.
    """
    client = find_command("docker")
    answers = _ask(run, client, _questions(client, network, images, ports), timeout_s)
    engine = parse_info(answers["info"]) if client else Engine("none", "", False, "", "", "")
    # A snap keeps its programs under this folder; the real path of /snap/bin/docker is the snap command itself.
    if client.startswith("/snap/") or (client and "/snap/" in str(Path(client).resolve())):
        engine = engine._replace(kind="snap")
    missing = [image for image in images if answers.get(f"image {image}", Answer(0, "", "")).code != 0]
    facts: DockerFacts = {
        "client": bool(client),
        # A running engine counts wherever its program is kept.
        "engine": engine.running or bool(find_command("dockerd")),
        "kind": engine.kind,
        "edition": engine.edition,
        "running": engine.running,
        "engine_version": engine.engine_version,
        "compose_version": engine.compose_version,
        "error": engine.error,
        "service": parse_service(answers["service"], process_command_line),
        "daemon_config": read_daemon_config(),
        "network_exists": answers["network"].code == 0 if engine.running and network else None,
        "images_missing": missing if engine.running else None,
    }
    return facts, parse_published(answers["published"].out) if engine.running and ports else []


def _questions(client: str, network: str, images: Sequence[str], ports: Sequence[int]) -> dict[str, list[str]]:
    questions = {"service": ["systemctl", "show", "docker.service", f"--property={','.join(_UNIT_PROPERTIES)}"]}
    if not client:
        return questions
    questions["info"] = [client, "info", "--format", "{{json .}}"]
    if network:
        questions["network"] = [client, "network", "inspect", "--format", "{{.Id}}", network]
    for image in images:
        questions[f"image {image}"] = [client, "image", "inspect", "--format", "{{.Id}}", image]
    if ports:
        filters = [f"--filter=publish={port}" for port in sorted(set(ports))]
        questions["published"] = [client, "ps", "--format", _PS_FORMAT, *filters]
    return questions


def _ask(run: Runner, client: str, questions: dict[str, list[str]], timeout_s: float) -> dict[str, Answer]:
    calls = {key: (lambda command=command: run(command)) for key, command in questions.items()}
    answers = {}
    for key, outcome in run_all(calls, timeout_s).items():
        # A wrapper that the kernel cannot run is as good as no answer; its error goes to the user with the facts.
        answers[key] = outcome.value if outcome.error is None else Answer(124, "", f"{client or key}: {outcome.error}")
    return answers


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else ""
