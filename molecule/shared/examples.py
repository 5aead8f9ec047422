"""Puts the setups of docs/examples onto a box of the test bed, with their own inventories and variables."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import as_clients
import on_boxes
import yaml
from bed.commands import docker
from bed.images import image_list, references
from bed.layout import OWNER_LABEL, Layout
from bed.services import NETWORK, OPEN_NETWORK

if TYPE_CHECKING:
    from pathlib import Path

    from testinfra.host import Host

BOX = "llm-examples-box"
SCENARIO = "examples"
EXAMPLES = on_boxes.ROOT / "docs/examples"
# Who answers in the test bed: stand-ins for the hosted services, each at the path that LiteLLM puts before its own, and
# a real llama.cpp.
ADDRESSES = {
    "anthropic": "http://providers.test:8080",
    "openai": "http://providers.test:8080/v1",
    "together_ai": "http://providers.test:8080/v1",
    "llamacpp": "http://llama.test:8080/v1",
}


def network() -> str:
    """Return the network of the bed in which the box stands."""
    return OPEN_NETWORK if on_boxes.upstream() else NETWORK


def address(container: str) -> str:
    """Return the address of a container of the bed in the box's network."""
    form = f'{{{{(index .NetworkSettings.Networks "{network()}").IPAddress}}}}'
    return docker("inspect", "--format", form, container)


def providers(name: str) -> dict[str, Any]:
    """Return the providers of an example as it declares them, at the addresses of the bed."""
    declared = yaml.safe_load((EXAMPLES / name / "group_vars/all/providers.yml").read_text())["llm_providers"]
    return {provider: {**given, "api_base": ADDRESSES[provider]} for provider, given in declared.items()}


def play(name: str, playbook: str = "site", **variables: Any) -> on_boxes.Run:
    """Run a user's playbook with an example's own inventory; only the way to the box is another."""
    way = ("-i", str(on_boxes.ROOT / "molecule/examples/inventory/reach.yml"))
    return on_boxes.play(playbook, *way, inventory=str(EXAMPLES / name / "inventory.yml"), **variables)


def deploy(host: Host, name: str, **variables: Any) -> None:
    """Put an example onto the box, which begins with empty counters and closed breakers.

    Raises:
        AssertionError: the run failed, or printed a secret.
    """
    if host.run("docker inspect llm-gateway-redis").rc == 0:
        as_clients.redis(host, "flushall")
    on_boxes.provider_fault(host, None)
    run = play(name, llm_providers=providers(name), **variables)
    shown = on_boxes.shown_secrets(run)
    if run.rc != 0 or shown:
        raise AssertionError(f"{name}: status {run.rc}, secrets shown: {shown}\n{run.output}")


def backends(host: Host, client: str, model: str, times: int, port: int) -> list[str]:
    """Ask a model many questions as fast as one box can; return who answered each, or the status of an error."""
    body = json.dumps(as_clients.question(model, "Question NUMBER of many.", max_tokens=1))
    script = (
        f"seq {times} | xargs -P 8 -I NUMBER {shlex.join(on_boxes.CURL)} -sS -m 60 -o /dev/null"
        " -w '%{http_code} %header{x-litellm-model-id}\\n'"
        f" -H @/run/asker -H 'Content-Type: application/json' -d {shlex.quote(body)}"
        f" {on_boxes.gateway(port)}{as_clients.CHAT}"
    )
    header = f"Authorization: Bearer {as_clients.key_of(client)}"
    host.check_output(f"install -m 0600 /dev/null /run/asker && printf %s '{header}' > /run/asker")
    lines = [line.split() for line in host.check_output(script).splitlines()]
    return [rest[0] if status == "200" else status for status, *rest in lines]


def forget_failures(host: Host) -> None:
    """Forget what failed so far, so that a test does not open the breaker of the next one."""
    keys = as_clients.redis(host, "keys", "*deployment:*").split()
    if keys:
        as_clients.redis(host, "del", *keys)


def longest_cached(host: Host, client: str) -> int:
    """Return for how many seconds the answer that is kept longest for a client is still kept."""
    script = (
        "local most = -2 for _, key in ipairs(redis.call('keys', ARGV[1]))"
        " do most = math.max(most, redis.call('ttl', key)) end return most"
    )
    return int(as_clients.redis(host, "eval", script, "0", f"*answers:{client}*"))


@dataclass(frozen=True)
class LlamaServer:
    """A real llama.cpp server beside the box, as on another machine.

    Attributes:
        name: its container, which stays when the server stops: whoever connects is then refused.
    """

    name: str = "llm-examples-llamacpp"

    def create(self, model: Path) -> None:
        """Make the machine, with a GGUF file on it; `remove` undoes it, and so does the scenario's clean-up."""
        image = references(image_list(Layout.of_this_checkout()))["llamacpp"]
        labels = ("--label", OWNER_LABEL, "--label", f"scenario={SCENARIO}")
        place = ("--network", network(), "--network-alias", "llama.test", "--init", "--entrypoint", "sleep")
        docker("create", "--name", self.name, *labels, *place, image, "infinity")
        docker("cp", str(model), f"{self.name}:/model.gguf")
        docker("start", self.name)

    def start(self) -> None:
        """Start the server; it needs less than a second to load so small a model."""
        serve = "llama-server --host 0.0.0.0 --port 8080 --model /model.gguf --threads 1 --parallel 2"
        docker("exec", "--detach", self.name, "sh", "-c", f"echo $$ > /run/server.pid && exec {serve}")

    def stop(self) -> None:
        """Stop the server."""
        self._signal("KILL")

    def hang(self) -> None:
        """Make it silent: it still accepts connections, and answers nothing."""
        self._signal("STOP")

    def go_on(self) -> None:
        """End the silence."""
        self._signal("CONT")

    def remove(self) -> None:
        """Remove the machine."""
        docker("rm", "--force", self.name)

    def _signal(self, name: str) -> None:
        docker("exec", self.name, "sh", "-c", f"kill -{name} $(cat /run/server.pid)")
