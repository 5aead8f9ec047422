"""Runs of site.yml: one with nothing to change, and one on a box that is new but for images and models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scripts.benchmark.box import Failed, Playbooks, in_box
from scripts.benchmark.report import at_most, say, show, timed

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_TASKS = 45
MOST_FRESH_RATIO = 1.6

MODELS = [
    {"name": "local", "backends": [{"provider": "ollama", "model": "smollm2:135m"}]},
    {"name": "embed", "mode": "embedding", "backends": [{"provider": "ollama", "model": "nomic-embed-text"}]},
]
FACTS_ALONE = [
    {"hosts": "gateway", "become": True, "gather_facts": False, "tasks": [{"ansible.builtin.setup": None}]},
]

KEEP_FILES = "rm -rf /srv/bench-files && cp -a /opt/llm-gateway /srv/bench-files"
# Models and the empty folder of Redis stay, so that no pull is measured.
EMPTY = """
cd /srv/bench-files
for service in ingress litellm ollama redis; do (cd $service && docker compose --progress quiet down); done
find /var/lib/llm-gateway/redis -mindepth 1 -delete
rm -rf /opt/llm-gateway
"""
LIKE_A_NEW_BOX = f"{EMPTY} docker network rm llm-gateway"
FILES_ALONE = f"{EMPTY} cp -a /srv/bench-files /opt/llm-gateway"
# In the order in which site.yml starts them.
COMPOSE_UP = """
cd /opt/llm-gateway
for service in redis ollama litellm ingress; do
  (cd $service && docker compose --progress quiet up --detach --wait)
done
"""


def recap(output: str, word: str) -> int:
    """Return a number of the recap of the only host, such as ``ok``."""
    line = output.split("PLAY RECAP", 1)[1]
    return int(line.split(f"{word}=", 1)[1].split()[0])


class Runs:
    """The runs, each measured for itself."""

    def __init__(self, playbooks: Playbooks) -> None:
        self._playbooks = playbooks
        self._facts = playbooks.folder / "facts.json"
        self._facts.write_text(json.dumps(FACTS_ALONE), encoding="utf-8")

    def prepare(self) -> None:
        """Bring images and models onto the box, and keep the files that were written. Raises Failed."""
        say("apply: brings images and models, not counted")
        self._playbooks.declare(llm_models=MODELS)
        self._playbooks.play("playbooks/site.yml")
        in_box(KEEP_FILES)

    def unchanged(self) -> tuple[float, int]:
        """Run with nothing to change; return seconds and executed tasks. Raises Failed."""
        seconds, output = timed("nothing to change", lambda: self._playbooks.play("playbooks/site.yml"))
        if recap(output, "changed"):
            raise Failed(f"A run with nothing to change has changed something:\n{output}")
        return seconds, recap(output, "ok")

    def facts_alone(self) -> float:
        """Return the seconds of a play that gathers facts and does nothing else. Raises Failed."""
        return timed("facts alone", lambda: self._playbooks.play(str(self._facts)))[0]

    def fresh_apply(self) -> float:
        """Return the seconds of an apply on a box that has only images and models. Raises Failed."""
        in_box(LIKE_A_NEW_BOX)
        apply = ("playbooks/site.yml", "--skip-tags", "verify")
        return timed("fresh apply", lambda: self._playbooks.play(*apply))[0]

    def compose_up(self) -> float:
        """Return the seconds of `docker compose up --wait` by hand, service after service. Raises Failed."""
        in_box(FILES_ALONE)
        return timed("docker compose up --wait", lambda: in_box(COMPOSE_UP))[0]


def measure(playbooks: Playbooks, count: int) -> Callable[[], bool]:
    """Measure ``count`` times; return what prints the table and tells whether every limit is kept. Raises Failed."""
    runs = Runs(playbooks)
    runs.prepare()
    unchanged: list[float] = []
    facts: list[float] = []
    fresh: list[float] = []
    by_hand: list[float] = []
    tasks = 0
    for number in range(count):
        say(f"runs, {number + 1} of {count}")
        seconds, tasks = runs.unchanged()
        unchanged.append(seconds)
        facts.append(runs.facts_alone())
        # In turns, so that neither always finds what the other has warmed up.
        if number % 2:
            by_hand.append(runs.compose_up())
            fresh.append(runs.fresh_apply())
        else:
            fresh.append(runs.fresh_apply())
            by_hand.append(runs.compose_up())

    def table() -> bool:
        say("\nNothing to change, verify included")
        few = at_most("executed tasks", tasks, MOST_TASKS)
        ratio = show("site.yml", unchanged) / show("a play with facts alone", facts)
        say(f"  {'ratio':<48}{ratio:8.2f}")
        say("\nFresh apply with images and models (smollm2:135m, nomic-embed-text) present, verify not counted")
        ratio = show("site.yml --skip-tags verify", fresh) / show("docker compose up --wait of the same files", by_hand)
        return at_most("ratio", round(ratio, 2), MOST_FRESH_RATIO) and few

    return table
