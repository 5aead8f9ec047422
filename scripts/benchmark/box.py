"""The disposable box: playbooks are run on it as a user runs them, and commands inside it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BED = [sys.executable, str(ROOT / "molecule/shared/bed")]
BOX = "llm-bench-box"
SCENARIO = "bench"

IN_BOX = Path(__file__).parent / "in_box"
FOLDER = "/srv/bench"
"""In the box: the programs that run there."""

KEY_FILE = "/opt/llm-gateway/litellm/secrets/authorization.header"
THROUGH_INGRESS = {
    "scheme": "https",
    "host": "127.0.0.1",
    "dial": "127.0.0.1",
    "port": 4000,
    "ca_file": "/var/lib/llm-gateway/ingress/caddy/pki/authorities/local/root.crt",
}
"""Where clients on the box ask, with TLS as it is by default."""

Json = dict[str, Any]


class Failed(Exception):
    """A command ended with an error, or a measurement makes no sense; the text says which."""


def environment() -> dict[str, str]:
    """Return the environment of a user: the checkout's own configuration of Ansible."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


def run(*command: str, **more: str) -> str:
    """Run a command, with more environment variables, and return what it printed. Raises Failed."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment() | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise Failed(f"{shlex.join(command)} ended with status {done.returncode}\n{tail}")
    return done.stdout


def in_box(script: str) -> str:
    """Run a shell script in the box and return what it printed. Raises Failed."""
    return run("docker", "exec", BOX, "sh", "-euc", script)


def asker_command(what: str, **orders: Any) -> list[str]:
    """Return the command that asks from inside the box; see `in_box/asker.py` for the orders."""
    text = json.dumps({"key_file": KEY_FILE, **orders})
    return ["docker", "exec", "--interactive", BOX, "python3", f"{FOLDER}/asker.py", what, text]


def bring_programs() -> None:
    """Copy what runs in the box. Raises Failed."""
    in_box(f"mkdir -p {FOLDER}")
    for program in ("asker.py", "upstream.py"):
        run("docker", "cp", "--quiet", str(IN_BOX / program), f"{BOX}:{FOLDER}/{program}")


def inventory(**variables: Any) -> Json:
    """Return an inventory with the box alone; the gateway can be asked on the box, as by default with TLS."""
    own = {"ansible_connection": "community.docker.docker", "llm_bind_address": "127.0.0.1", **variables}
    return {"gateway": {"hosts": {BOX: own}}, "ollama": {"hosts": {BOX: None}}}


class Playbooks:
    """The user's playbooks and the inventory they run with.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "group_vars").symlink_to(ROOT / "group_vars")

    def declare(self, **variables: Any) -> None:
        """Write the inventory: these variables, and for all others what the project sets."""
        (self.folder / "hosts.json").write_text(json.dumps(inventory(**variables)), encoding="utf-8")

    def command(self, playbook: str, *options: str) -> list[str]:
        """Return the command that a user would type, with the test bed's images and secrets."""
        extra = ["-e", "@.bed/pins.yml", "-e", "@.bed/secrets.yml"]
        return ["ansible-playbook", "-i", str(self.folder / "hosts.json"), playbook, *extra, *options]

    def play(self, playbook: str, *options: str, **more: str) -> str:
        """Run a playbook, with more environment variables, and return what it printed. Raises Failed."""
        return run(*self.command(playbook, *options), **more)


def machine() -> str:
    """Say what is measured on. Raises Failed."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    ansible = run("ansible-playbook", "--version").split("]")[0].split("core ")[1]
    engine = in_box("docker version --format '{{.Server.Version}}'").strip()
    compose = in_box("docker compose version --short").strip()
    images = (ROOT / ".bed/images").read_text(encoding="utf-8").strip()
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}; "
        f"ansible-core {ansible}, Python {platform.python_version()}; in the box Docker {engine}, Compose {compose}, "
        f"{images} images"
    )
