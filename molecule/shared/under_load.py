"""Runs the clients of `load.py` on a box while a test changes its gateway, and sees what became of their questions."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import load
import on_boxes
import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testinfra.host import Host


FOLDER = "/run/llm-load"
UNIT = "llm-load"
STOP_SECONDS = 60


class Load:
    """The clients at work on one box.

    Attributes:
        orders: what they do now; `change` hands new ones over.
    """

    def __init__(self, host: Host, address: Mapping[str, Any], clients: Mapping[str, Mapping[str, Any]]) -> None:
        """Plan the work.

        Args:
            host: the box on which they run.
            address: `scheme`, `host`, `port`, `dial` (the address behind the name) and `ca_file` on the box.
            clients: for each name `kind`, `key`, `model`, `answered_by` (the models that may answer) and `paced`
                (whether the model answers at the pace that a question asks for).
        """
        self._host = host
        planned = {name: dict(client) for name, client in clients.items()}
        self.orders: dict[str, Any] = {"address": dict(address), "phase": "", "stop": True, "clients": planned}

    def start(self, phase: str) -> None:
        """Let them begin, with no results yet."""
        self._host.check_output(f"rm -rf {FOLDER} && install -d -m 0700 {FOLDER}")
        self._put(f"{FOLDER}/load.py", Path(load.__file__).read_text())
        self.orders["stop"] = False
        self.change(phase)
        self._host.check_output(f"systemd-run --quiet --unit {UNIT} python3 {FOLDER}/load.py {FOLDER}")

    def change(self, phase: str, **clients: Mapping[str, Any]) -> None:
        """Give new orders: the name of what comes now, and what is different for some clients (`-` is written `_`)."""
        orders = copy.deepcopy(self.orders)
        orders["phase"] = phase
        for name, change in clients.items():
            orders["clients"][name.replace("_", "-")] |= change
        self.orders = orders
        self._put(f"{FOLDER}/orders.json", json.dumps(orders))

    def change_model(self, phase: str, model: str, *answered_by: str) -> None:
        """Say which backends may answer for a model from now on. Raises AssertionError when nobody asks for it."""
        asking = [name for name, client in self.orders["clients"].items() if client["model"] == model]
        if not asking:
            raise AssertionError(f"no client asks for {model}")
        self.change(phase, **{name: {"answered_by": answered_by} for name in asking})

    def results(self) -> list[load.Result]:
        """What became of the questions until now."""
        # The first question that is over makes the file.
        found = self._host.file(f"{FOLDER}/results.jsonl")
        return load.read_results(found.content_string if found.exists else "")

    def stop(self) -> list[load.Result]:
        """Let them finish and return all results; that they have stopped is no harm.

        Raises:
            AssertionError: the generator itself failed, or did not end.
        """
        if self.orders["stop"]:
            return self.results()
        self.orders["stop"] = True
        self._put(f"{FOLDER}/orders.json", json.dumps(self.orders))
        deadline = time.monotonic() + STOP_SECONDS
        while (state := self._host.run(f"systemctl is-active {UNIT}").stdout.strip()) == "active":
            if time.monotonic() > deadline:
                raise AssertionError("the clients do not come to an end")
            time.sleep(0.5)
        journal = self._host.run(f"journalctl --no-pager --unit {UNIT}").stdout
        self._host.run(f"systemctl reset-failed {UNIT}")
        if state != "inactive":
            raise AssertionError(f"the load generator ended as {state}:\n{journal}")
        return self.results()

    def wait_for(self, count: int, seconds: float) -> None:
        """Let them ask until there are so many results. Raises AssertionError when that takes longer."""
        deadline = time.monotonic() + seconds
        while (found := int(self._host.check_output(f"cat {FOLDER}/results.jsonl 2>/dev/null | wc -l"))) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{found} results after {seconds} s, expected {count}")
            time.sleep(0.5)

    def wait_for_phase(self, seconds: float = 60) -> list[load.Result]:
        """Wait until every client has an answer that it asked for in this phase; return the phase's results.

        Raises:
            AssertionError: that takes longer.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = [result for result in self.results() if result.phase == self.orders["phase"]]
            missing = self.orders["clients"].keys() - {result.client for result in found}
            if not missing:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no result of {', '.join(sorted(missing))} within {seconds} s")
            time.sleep(0.5)

    def _put(self, path: str, text: str) -> None:
        # Complete or absent: the clients read it at any time. From standard input, so that no key is in a command line.
        write = f"umask 077; cat > {path}.new && mv {path}.new {path}"
        command = ["docker", "exec", "--interactive", self._host.backend.get_hostname(), "sh", "-c", write]
        subprocess.run(command, input=text, text=True, check=True)


@dataclass
class Gateway:
    """The gateway of a box as its user has declared it until now.

    Attributes:
        variables: what differs from the inventory.
        variant: the images it runs, such as `next`; None for those of the bed's pins.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    variant: str | None = None

    def change(self, playbook: str, variant: str | None = None, **variables: Any) -> on_boxes.Run:
        """Edit and run a playbook; an edit that fails is taken back, as its user would."""
        wanted = {**self.variables, **variables}
        images = variant or self.variant
        options = ("-e", f"@{on_boxes.BED}/pins-{images}.yml") if images else ()
        done = on_boxes.play(playbook, *options, **wanted)
        if done.rc == 0:
            self.variables, self.variant = wanted, images
        return done


def image_of(variant: str | None, name: str) -> str:
    """Return the digest of an image that a variant of the bed's images pins."""
    pins = on_boxes.BED / (f"pins-{variant}.yml" if variant else "pins.yml")
    return str(yaml.safe_load(pins.read_text())["llm_images"][name]["digest"])


def containers(host: Host) -> list[str]:
    """Return identity, name, start and number of restarts of every container on a box."""
    form = "{{.Id}} {{.Name}} {{.State.StartedAt}} {{.RestartCount}}"
    return sorted(host.check_output(f"docker inspect -f '{form}' $(docker ps -aq)").splitlines())


def start_seconds(host: Host, replica: str) -> float:
    """Return how long LiteLLM itself took from the start of a container to its first possible answer."""
    started = host.check_output(f"docker inspect -f '{{{{.State.StartedAt}}}}' {replica}")
    lines = host.check_output(f"docker logs --timestamps {replica} 2>&1 | grep -F 'Application startup complete'")
    ready = lines.splitlines()[-1].split()[0]
    return (datetime.fromisoformat(ready) - datetime.fromisoformat(started)).total_seconds()


def losses(results: list[load.Result], at_most: int = 10) -> str:
    """The first losses in words, for the message of a failed assertion."""
    lost = [result for result in results if result.outcome != load.OK]
    lines = [
        f"{result.phase}: {result.client} asked {result.model}, {result.outcome} after {result.seconds:.2f} s"
        f" ({result.chunks} pieces): {result.problem}"
        for result in lost[:at_most]
    ]
    return f"{len(lost)} of {len(results)} lost\n" + "\n".join(lines)
