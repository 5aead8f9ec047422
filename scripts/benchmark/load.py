"""Requests a second and latency: the gateway with one and two replicas against one LiteLLM started by hand."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from scripts.benchmark.box import (
    BOX,
    FOLDER,
    THROUGH_INGRESS,
    Failed,
    Json,
    Playbooks,
    asker_command,
    bring_programs,
    in_box,
    run,
)
from scripts.benchmark.report import at_least, at_most, say, show

MOST_ADDED_MS = 2.0
LEAST_RATIO = 1.5
LIMIT_CONCURRENCY = 16

CONCURRENCIES = {1: 4.0, 16: 6.0, 64: 6.0}
"""Questions in flight, and for how many seconds they are counted."""

WARM_UP_SECONDS = 1.0
FIRST_QUESTIONS_SECONDS = 3.0
"""A LiteLLM that has just started loads what it needs when it is first asked."""

PAIRED_SECONDS = 8.0
BLOCKS, BLOCK_SECONDS = 3, 3.0
"""What the ingress adds: so many times the ingress and then the replica are asked for some seconds each."""

SHARE_OF_A_CORE = 0.6
"""For each LiteLLM: on two cores this leaves to ingress, client and upstream what they need, as a machine with more
cores does. Without it, what two replicas bring is limited by the number of cores."""

SHARED_SECONDS = 10.0
ALL_CORES = os.cpu_count() or 1
HEALTH_SECONDS = 3.0
"""In this time the ingress has seen which replicas are there: its time-out is 2 s."""

READY_SECONDS = 120
MODEL = "load"
PRICE = {"input_per_million_usd": 1, "output_per_million_usd": 1}
UPSTREAM_UNIT, UPSTREAM_PORT = "bench-upstream", 8999
BY_HAND = "llm-bench-by-hand"
REMOVE_BY_HAND = f"docker rm --force --volumes {BY_HAND} >/dev/null 2>&1 || true"
NETWORK = "llm-gateway"
REPLICA_CONTAINERS = ("llm-gateway-litellm-1", "llm-gateway-litellm-2")
REPLICA = REPLICA_CONTAINERS[0]
REPLICA_PORT = 4000

HAND, ONE, TWO = SETUPS = ("one LiteLLM by hand", "gateway, 1 replica", "gateway, 2 replicas")
REPLICAS = {ONE: 1, TWO: 2}
# There and back: a machine that grows slower or faster does so for all of them.
ORDER = (TWO, ONE, HAND, HAND, ONE, TWO)


@dataclass(frozen=True)
class Figures:
    """What a time of load has shown.

    Attributes:
        per_second: answers a second.
        median_ms: median time of an answer in milliseconds.
        p95_ms: 95th percentile of it.
        cpu_ms: CPU time for an answer in milliseconds, by the name of the program.
    """

    per_second: float
    median_ms: float
    p95_ms: float
    cpu_ms: dict[str, float]


def models() -> list[Json]:
    """Return the models of the inventory: one whose answers cost no time, and one that costs nothing to ask."""
    return [
        {
            "name": MODEL,
            # What costs money is not asked by the runs of the playbooks: its answers are no streams.
            "backends": [{"provider": "constant", "model": "constant", "price": PRICE}],
        },
        {"name": "a", "backends": [{"provider": "ollama", "model": "smollm2:135m"}]},
    ]


def by_hand_command(replica: Json) -> list[str]:
    """Return what starts one LiteLLM like a replica, without health checks and without Compose.

    Args:
        replica: what `docker inspect` tells of the replica.
    """
    config, host = replica["Config"], replica["HostConfig"]
    entrypoint, *arguments = config["Entrypoint"]
    return [
        *("docker", "run", "--detach", "--name", BY_HAND, "--network", NETWORK, "--no-healthcheck"),
        *("--user", config["User"], "--entrypoint", entrypoint),
        *(part for path in host["Tmpfs"] or {} for part in ("--tmpfs", path)),
        *(part for variable in config["Env"] for part in ("--env", variable)),
        *(part for mount in host["Binds"] for part in ("--volume", mount)),
        *(config["Image"], *arguments, *(config["Cmd"] or [])),
    ]


def container_address(inspected: Json) -> str:
    """Return the address of a container on the gateway's network, from what `docker inspect` tells of it."""
    return str(inspected["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])


def inspect(container: str) -> Json:
    """Return what Docker in the box tells of a container. Raises Failed."""
    found: Json = json.loads(in_box(f"docker inspect {container}"))[0]
    return found


def directly(container: str) -> Json:
    """Return where a LiteLLM answers without the ingress. Raises Failed."""
    address = container_address(inspect(container))
    return {"scheme": "http", "host": address, "dial": address, "port": REPLICA_PORT}


def wait_ready(container: str) -> None:
    """Wait until a LiteLLM says that it is ready. Raises Failed when it does not in time."""
    target = directly(container)
    url = f"http://{target['dial']}:{target['port']}/health/readiness"
    deadline = time.monotonic() + READY_SECONDS
    while in_box(f"curl -s -o /dev/null -m 5 -w '%{{http_code}}' {url} || true").strip() != "200":
        if time.monotonic() > deadline:
            raise Failed(
                f"{container} was not ready within {READY_SECONDS} s\n{in_box(f'docker logs {container} 2>&1')}"
            )
        time.sleep(0.3)


def ask(*targets: Json, concurrency: int, warm_up: float, seconds: float) -> list[Figures]:
    """Ask the targets in turns; return the figures of each. Raises Failed."""
    orders = {"concurrency": concurrency, "warm_up": warm_up, "seconds": seconds}
    result = json.loads(run(*asker_command("load", targets=targets, model=MODEL, **orders)).splitlines()[-1])
    return [
        Figures(found["per_second"], found["median_ms"], found["p95_ms"], result["cpu_ms"])
        for found in result["targets"]
    ]


def hold(cores: float, *containers: str) -> None:
    """Let each container use no more than so many cores. Raises Failed."""
    in_box(f"docker update --cpus {cores:g} {' '.join(containers)}")


class Load:
    """The load and where it goes."""

    def __init__(self, playbooks: Playbooks) -> None:
        self._playbooks = playbooks
        self.figures: defaultdict[tuple[str, int], list[Figures]] = defaultdict(list)
        self.shared: defaultdict[str, list[float]] = defaultdict(list)
        self.added_ms: list[float] = []
        self.added_in_turns_ms: list[float] = []
        # What site.yml brings.
        self._runs = TWO

    def prepare(self) -> None:
        """Start the upstream and apply an inventory that leads to it. Raises Failed."""
        say("apply: two replicas, and a model whose answers cost no time; not counted")
        bring_programs()
        in_box(f"systemd-run --quiet --unit {UPSTREAM_UNIT} python3 {FOLDER}/upstream.py {UPSTREAM_PORT}")
        address = run("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", BOX)
        upstream = f"http://{address.strip()}:{UPSTREAM_PORT}/v1"
        providers = {"constant": {"kind": "openai_compatible", "api_base": upstream}}
        self._playbooks.declare(llm_providers=providers, llm_models=models())
        self._playbooks.play("playbooks/site.yml")

    def clear(self) -> None:
        """Stop what this part has started beside the gateway. Raises Failed."""
        in_box(f"systemctl stop {UPSTREAM_UNIT}; {REMOVE_BY_HAND}")

    def arrange(self, setup: str) -> Json:
        """Let what belongs to a setup run and nothing else; return where to ask. Raises Failed."""
        if setup == HAND and self._runs != HAND:
            command = by_hand_command(inspect(REPLICA))
            in_box("cd /opt/llm-gateway/litellm && docker compose --progress quiet stop")
            run("docker", "exec", BOX, *command)
            wait_ready(BY_HAND)
        elif setup != self._runs:
            in_box(REMOVE_BY_HAND)
            replicas = ("-e", f"litellm_replicas={REPLICAS[setup]}")
            self._playbooks.play("playbooks/site.yml", "--tags", "litellm,ingress", *replicas)
            time.sleep(HEALTH_SECONDS)
        self._runs = setup
        return directly(BY_HAND) if setup == HAND else THROUGH_INGRESS

    def round(self) -> None:
        """Measure every setup twice. Raises Failed."""
        for setup in ORDER:
            target = self.arrange(setup)
            ask(target, concurrency=LIMIT_CONCURRENCY, warm_up=0.0, seconds=FIRST_QUESTIONS_SECONDS)
            for concurrency, seconds in CONCURRENCIES.items():
                (found,) = ask(target, concurrency=concurrency, warm_up=WARM_UP_SECONDS, seconds=seconds)
                self.figures[setup, concurrency].append(found)
                speed = f"{found.per_second:.1f} a second, median {found.median_ms:.1f} ms"
                say(f"  {setup}, concurrency {concurrency}: {speed}")
            if setup == ONE:
                self._added()
            else:
                self._with_a_share(setup, target)

    def _added(self) -> None:
        ways = (THROUGH_INGRESS, directly(REPLICA))
        for _ in range(BLOCKS):
            (ingress,), (replica,) = (
                ask(way, concurrency=1, warm_up=WARM_UP_SECONDS, seconds=BLOCK_SECONDS) for way in ways
            )
            self.added_ms.append(ingress.median_ms - replica.median_ms)
        ingress, replica = ask(*ways, concurrency=1, warm_up=WARM_UP_SECONDS, seconds=PAIRED_SECONDS)
        self.added_in_turns_ms.append(ingress.median_ms - replica.median_ms)
        blocks = ", ".join(f"{added:.2f}" for added in self.added_ms[-BLOCKS:])
        say(f"  {ONE}: the ingress adds {blocks} ms, question by question in turns {self.added_in_turns_ms[-1]:.2f} ms")

    def _with_a_share(self, setup: str, target: Json) -> None:
        containers = [BY_HAND] if setup == HAND else REPLICA_CONTAINERS
        hold(SHARE_OF_A_CORE, *containers)
        try:
            (found,) = ask(target, concurrency=LIMIT_CONCURRENCY, warm_up=WARM_UP_SECONDS, seconds=SHARED_SECONDS)
        finally:
            hold(ALL_CORES, *containers)
        self.shared[setup].append(found.per_second)
        say(f"  {setup}, {SHARE_OF_A_CORE:g} of a core for each LiteLLM: {found.per_second:.1f} a second")

    def values(self, setup: str, concurrency: int, name: str) -> list[float]:
        """Return a figure of a setup from every time it was measured."""
        return [float(getattr(found, name)) for found in self.figures[setup, concurrency]]


def measure(playbooks: Playbooks, _count: int) -> Callable[[], bool]:
    """Measure each setup twice; return what prints the table and tells whether every limit is kept. Raises Failed."""
    load = Load(playbooks)
    load.prepare()
    try:
        load.round()
    finally:
        load.clear()

    def table() -> bool:
        say("\nLoad: short answers of an upstream that costs no time, TLS on, the client on the box and its cores")
        for concurrency in CONCURRENCIES:
            for setup in SETUPS:
                show_figures(load, setup, concurrency)
        say("\nCPU time of the box for an answer at concurrency 16")
        for setup in SETUPS:
            say(f"  {setup}: {spent(load.figures[setup, LIMIT_CONCURRENCY][-1].cpu_ms)}")
        say("\nWhat the gateway costs and brings")
        show("added by the ingress, question by question in turns", load.added_in_turns_ms, "ms", 2)
        added = show("added by the ingress at the median, 1 replica", load.added_ms, "ms", 2)
        cores = f"{SHARE_OF_A_CORE:g} of a core each"
        show(f"one LiteLLM by hand, {cores}", load.shared[HAND], "a second")
        show(f"gateway, 2 replicas, {cores}", load.shared[TWO], "a second")
        say(
            f"  without that share, on all of {os.cpu_count()} cores: {bare_ratio(load):.2f} times the answers a second"
        )
        kept = at_most("added by the ingress, in ms", round(added, 2), MOST_ADDED_MS)
        ratio = sum(load.shared[TWO]) / sum(load.shared[HAND])
        return at_least("answers a second, 2 replicas to one by hand", round(ratio, 2), LEAST_RATIO) and kept

    return table


def show_figures(load: Load, setup: str, concurrency: int) -> None:
    """Print the rows of one setup."""
    name = f"{setup}, concurrency {concurrency}"
    show(name, load.values(setup, concurrency, "per_second"), "a second")
    show("  median", load.values(setup, concurrency, "median_ms"), "ms")
    show("  95th percentile", load.values(setup, concurrency, "p95_ms"), "ms")


def spent(cpu_ms: dict[str, float], least: float = 0.2) -> str:
    """Return the programs that use most, with their CPU time."""
    return ", ".join(f"{name} {spent:.1f} ms" for name, spent in cpu_ms.items() if spent >= least)


def bare_ratio(load: Load) -> float:
    """Return how many times the answers of one LiteLLM by hand two replicas give, when all share the cores."""
    two, hand = (sum(load.values(setup, LIMIT_CONCURRENCY, "per_second")) for setup in (TWO, HAND))
    return two / hand
