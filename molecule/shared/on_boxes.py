"""What the tests of all scenarios do with boxes: run the user's playbooks, look at a box, ask its gateway."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testinfra.host import Host

ROOT = Path(__file__).parents[2]
BED = ROOT / ".bed"
REPLICAS = ("llm-gateway-litellm-1", "llm-gateway-litellm-2")
CONTAINERS = ("llm-gateway-redis", "llm-gateway-ollama", *REPLICAS, "llm-gateway-ingress")
# On the box: the certificate of the authority that signs the gateway's.
CA_FILE = "/var/lib/llm-gateway/ingress/caddy/pki/authorities/local/root.crt"
KEY_HEADER = "/opt/llm-gateway/litellm/secrets/authorization.header"


def encrypted() -> bool:
    """Whether the scenario's gateway has a certificate; it has where the inventory says nothing of it."""
    hosts = Path(os.environ.get("MOLECULE_SCENARIO_DIRECTORY", ROOT / "molecule/default")) / "inventory/hosts.yml"
    boxes = yaml.safe_load(hosts.read_text()).get("gateway", {}).get("hosts", {})
    return "off" not in [(variables or {}).get("llm_tls") for variables in boxes.values()]


def gateway(port: int = 4000) -> str:
    """Return the address at which a box asks its own gateway."""
    return f"{'https' if encrypted() else 'http'}://127.0.0.1:{port}"


GATEWAY = gateway()
# What every question to the gateway begins with.
CURL = ("curl", "--cacert", CA_FILE) if encrypted() else ("curl",)


@dataclass(frozen=True)
class Run:
    """A finished run of a playbook.

    Attributes:
        rc: exit status.
        output: everything it printed.
    """

    rc: int
    output: str

    def recap(self, word: str) -> int:
        """Return a number of the recap of the only host, such as ``changed``."""
        line = self.output.split("PLAY RECAP", 1)[1]
        return int(line.split(f"{word}=", 1)[1].split()[0])


def playbook_command(name: str, variables: Mapping[str, Any], *options: str, inventory: str = "inventory") -> list[str]:
    """Return the command that a user would type, with the bed's images and secrets."""
    folder = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / inventory
    extra = ["-e", f"@{BED}/pins.yml", "-e", f"@{BED}/secrets.yml", "-e", json.dumps(dict(variables))]
    return ["ansible-playbook", "-i", str(folder), f"playbooks/{name}.yml", *extra, *options]


def play(name: str = "site", *options: str, inventory: str = "inventory", **variables: Any) -> Run:
    """Run one of the user's playbooks to its end, with an inventory of the scenario."""
    command = playbook_command(name, variables, *options, inventory=inventory)
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return Run(done.returncode, done.stdout)


def play_until(moment: str, **variables: Any) -> None:
    """Run the site playbook and kill it, with all its children here, as soon as it prints ``moment``.

    Raises:
        AssertionError: it ended without printing it.
    """
    command = playbook_command("site", variables)
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with running:
        assert running.stdout is not None
        seen = []
        for line in running.stdout:
            seen.append(line)
            if moment in line:
                # Let it get into the task that it has just announced.
                time.sleep(2)
                os.killpg(running.pid, signal.SIGKILL)
                return
    raise AssertionError("".join(seen[-40:]))


def environment() -> dict[str, str]:
    """Return the environment of a user: the checkout's own configuration, none of molecule's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}


def upstream() -> bool:
    """Whether the boxes run the published images, which cannot be told to fail."""
    return (BED / "images").read_text().strip() == "upstream"


def secrets() -> dict[str, str]:
    """Return the secrets that the bed planted, by their vault names."""
    return dict(yaml.safe_load((BED / "secrets.yml").read_text()))


def shown_secrets(run: Run, *more: str) -> list[str]:
    """Return the names of planted secrets that a run printed; ``more`` are values to look for besides."""
    planted = secrets()
    assert len(planted) >= 4
    return [name for name, value in planted.items() if value in run.output] + [v[:4] for v in more if v in run.output]


def started_at(host: Host) -> dict[str, str]:
    """Return when each container of the gateway was started."""
    found = host.run("docker inspect -f '{{.Name}} {{.State.StartedAt}}' " + " ".join(CONTAINERS))
    return dict(line.lstrip("/").split() for line in found.stdout.splitlines())


def snapshot(host: Host) -> dict[str, str]:
    """Return what must not change when a run is refused: files, containers, networks and models.

    Parts of a model that a failed pull leaves do not count, as the next pull goes on from them; nor do the receipts,
    of which each run writes one.
    """
    return {
        "files": host.check_output(
            "find /opt/llm-gateway /etc/docker -type f -exec sha256sum {} + 2>/dev/null | sort; "
            "find /opt/llm-gateway /var/lib/llm-gateway -printf '%p %M %U %G\\n' 2>/dev/null"
            " | grep -v -e /redis/ -e /caddy/locks -e /receipts/ -e partial | sort"
        ),
        "containers": host.check_output("docker ps -a --no-trunc --format '{{.ID}} {{.Names}} {{.Image}}' | sort"),
        "started": json.dumps(started_at(host)),
        "networks": host.check_output("docker network ls -q | sort"),
    }


def replica_address(host: Host, replica: str) -> str:
    """Return the address at which a replica alone answers, for what the ingress lets nobody ask."""
    form = '{{ (index .NetworkSettings.Networks "llm-gateway").IPAddress }}'
    return f"http://{host.check_output(f'docker inspect -f {shlex.quote(form)} {replica}')}:4000"


def ask(
    host: Host,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: tuple[str, ...] = (f"@{KEY_HEADER}",),
    address: str = GATEWAY,
) -> tuple[int, dict[str, str], Any]:
    """Ask the gateway on the box; return status, headers (small letters) and the body, parsed when it is JSON."""
    command = [*CURL, "-sS", "-m", "60", "-D", "-", "--path-as-is", f"{address}{path}"]
    for header in headers:
        command += ["-H", header]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    head, _, text = host.check_output(shlex.join(command)).replace("\r\n", "\n").partition("\n\n")
    status, *lines = head.splitlines()
    found = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    try:
        return int(status.split()[1]), found, json.loads(text)
    except ValueError:
        return int(status.split()[1]), found, text


def chat(model: str, **more: Any) -> dict[str, Any]:
    """Return the body of a short question."""
    return {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 60, **more}


def provider_fault(host: Host, fault: str | None, **more: Any) -> None:
    """Switch a fault of the provider stand-ins; None ends it."""
    body = json.dumps({"provider": "*", "fault": fault, **more})
    url = "http://providers.test:8080/_double/fault"
    host.check_output(f"curl -sSf -X POST {url} -H 'Content-Type: application/json' -d '{body}'")


def wait_until(happens: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something; return after how many seconds it happened.

    Raises:
        AssertionError: it did not happen in time.
    """
    begin = time.monotonic()
    while not happens():
        assert time.monotonic() - begin < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.5)
    return time.monotonic() - begin


def wait_until_healthy(host: Host, *containers: str, seconds: float = 90) -> None:
    """Wait until containers, or all of the gateway, are healthy: Docker looks at them only every few seconds."""
    containers = containers or CONTAINERS
    asked = f"docker inspect -f '{{{{.State.Health.Status}}}}' {' '.join(containers)}"
    expected = ["healthy"] * len(containers)
    wait_until(lambda: host.check_output(asked).split() == expected, seconds, f"{containers} healthy")
