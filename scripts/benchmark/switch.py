"""`make models`: the model behind an alias is exchanged, and a new alias added, while a client asks for both."""

from __future__ import annotations

import datetime
import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.benchmark.box import (
    BOX,
    THROUGH_INGRESS,
    Failed,
    Json,
    Playbooks,
    asker_command,
    bring_programs,
    environment,
)
from scripts.benchmark.report import NAME_WIDTH, at_most, say, show

MOST_START_UPS = 2.5
POLL_SECONDS = 0.05

FIRST, SECOND = "smollm2:135m", "qwen2.5:0.5b"
# Both models are declared all the time, so that neither is downloaded or removed.
THERE = {"a": FIRST, "b": SECOND}
ALIAS, NEW_ALIAS = "fast", "added"

STEPS = (
    "Ansible's own start and end",
    "plan",
    "Ollama",
    "files",
    "start of the new replicas",
    "until they are ready",
    "question",
    "old replicas drain",
    "verify",
)
# What has no role is the plan: check, look, compare.
STEP_OF_ROLE = {"ollama": "Ollama", "litellm": "files", "compose_service": "files", "verify": "verify", "": "plan"}
STEP_OF_ROLL = {
    "start": "start of the new replicas",
    "ready": "until they are ready",
    "questions": "question",
    "drain": "old replicas drain",
}


FIRST_LINE = re.compile(r"^\{$", re.MULTILINE)


@dataclass(frozen=True)
class Switch:
    """One run of playbooks/models.yml, in seconds.

    Attributes:
        whole: from the start of the command to its end.
        first_answer: from the start of the command to the first answer by the new model.
        start_up: LiteLLM's own in this run, from the start of the containers until the slower replica was ready.
        steps: how `whole` is spent.
        asked: questions that the client sent meanwhile.
        failed: how many of them got none; of a new alias: all until it is there.
    """

    whole: float
    first_answer: float
    start_up: float
    steps: dict[str, float]
    asked: int
    failed: int

    @property
    def start_ups(self) -> float:
        """The whole run, measured in start-ups of LiteLLM."""
        return self.whole / self.start_up


def model(name: str, ollama_model: str) -> Json:
    """Return the declaration of a model on Ollama."""
    return {"name": name, "backends": [{"provider": "ollama", "model": ollama_model}]}


def declared(**aliases: str) -> list[Json]:
    """Return the models of the inventory: those that are there, and aliases for some of them."""
    return [model(name, behind) for name, behind in {**THERE, **aliases}.items()]


def deployment(alias: str, ollama_model: str) -> str:
    """Return what LiteLLM calls the deployment of a model in its answers."""
    return f"{alias}/ollama/{ollama_model}@{BOX}"


def read_run(output: str) -> list[Json]:
    """Return the plays of a run from what Ansible's JSON callback printed. Raises Failed when it printed none."""
    begin = FIRST_LINE.search(output)
    try:
        # Warnings come before it, and the summary of another callback after it.
        plays: list[Json] = json.JSONDecoder().raw_decode(output, begin.start() if begin else 0)[0]["plays"]
    except ValueError:
        raise Failed(f"The run printed no JSON:\n{output[-2000:]}") from None
    return plays


def seconds_since_1970(written: str) -> float:
    """Return the time that Ansible wrote, such as ``2026-01-31T12:00:00.5Z``."""
    return datetime.datetime.fromisoformat(written).timestamp()


def role_of(task: str) -> str:
    """Return the role of a task by its full name, such as ``homelab.llm_gateway.verify : ask | Ask``; empty without."""
    role, colon, _ = task.partition(" : ")
    return role.rsplit(".", 1)[-1] if colon else ""


def rolls(plays: list[Json]) -> list[tuple[str, dict[str, float]]]:
    """Return the seconds that each call of compose_replicas reports, by the name of the task."""
    return [
        (task["task"]["name"], result["seconds"])
        for play in plays
        for task in play["tasks"]
        for result in task["hosts"].values()
        if str(result.get("action", "")).endswith("compose_replicas") and result.get("seconds")
    ]


def steps_of(plays: list[Json], whole: float) -> dict[str, float]:
    """Return how a run of ``whole`` seconds was spent; a step lasts until the next task begins. Raises Failed."""
    tasks = [task["task"] for play in plays for task in play["tasks"]]
    moments = [seconds_since_1970(task["duration"]["start"]) for task in tasks]
    moments.append(seconds_since_1970(tasks[-1]["duration"]["end"]))
    steps = dict.fromkeys(STEPS, 0.0)
    for task, begin, end in zip(tasks, moments, moments[1:], strict=False):
        role = role_of(task["name"])
        if role not in STEP_OF_ROLE:
            raise Failed(f"The bench does not know to which step the role {role} belongs: {task['name']}")
        steps[STEP_OF_ROLE[role]] += end - begin
    # These are parts of tasks that were counted above.
    for _, seconds in rolls(plays):
        for name, step in STEP_OF_ROLL.items():
            steps[step] += seconds.get(name, 0.0)
            steps["files"] -= seconds.get(name, 0.0)
    steps["Ansible's own start and end"] = whole - sum(steps.values())
    return steps


def start_up_of(plays: list[Json]) -> float:
    """Return the seconds from the start of the new containers until the slower one was ready. Raises Failed."""
    for _, seconds in rolls(plays):
        if "ready" in seconds:
            return seconds["start"] + seconds["ready"]
    raise Failed("The run of playbooks/models.yml has started no replica: it had nothing to change.")


def first_answer_by(polls: list[Json], expected: str, begin: float) -> float:
    """Return the seconds from ``begin`` (since 1970) to the first answer by a deployment. Raises Failed."""
    for poll in polls:
        if poll["answered_by"] == expected:
            return float(poll["answered"]) - begin
    answered = sorted({poll["answered_by"] or f"status {poll['status']}" for poll in polls})
    raise Failed(f"No answer came from {expected}; there were {', '.join(answered) or 'no answers'}.")


@contextmanager
def polling(alias: str) -> Iterator[Callable[[], list[Json]]]:
    """Ask for a model all the time; what it yields ends that and returns what became of the questions."""
    command = asker_command("poll", targets=[THROUGH_INGRESS], model=alias, interval=POLL_SECONDS)
    asker = subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def result() -> list[Json]:
        output, problem = asker.communicate()
        if asker.returncode:
            raise Failed(f"The client that asks for {alias} ended with status {asker.returncode}\n{problem}")
        polls: list[Json] = json.loads(output)
        return polls

    with asker:
        # The interpreter starts while the machine is still quiet.
        time.sleep(1)
        yield result


def switch(playbooks: Playbooks, alias: str, behind: str, **aliases: str) -> Switch:
    """Declare these aliases, run playbooks/models.yml, see when ``behind`` answers for ``alias``. Raises Failed."""
    with polling(alias) as polls:
        playbooks.declare(llm_models=declared(**aliases))
        begin, start = time.time(), time.monotonic()
        output = playbooks.play("playbooks/models.yml", "--diff", ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
        whole = time.monotonic() - start
        answers = polls()
    plays = read_run(output)
    before = [poll for poll in answers if poll["asked"] < begin + whole]
    found = Switch(
        whole=whole,
        first_answer=first_answer_by(answers, deployment(alias, behind), begin),
        start_up=start_up_of(plays),
        steps=steps_of(plays, whole),
        asked=len(before),
        failed=sum(poll["status"] != 200 for poll in before),
    )
    spent = f"first answer {found.first_answer:.1f} s, run {whole:.1f} s = {found.start_ups:.2f} start-ups"
    say(f"  {alias} is {behind}: {spent}")
    return found


def measure(playbooks: Playbooks, count: int) -> Callable[[], bool]:
    """Measure ``count`` times; return what prints the table and tells whether every limit is kept. Raises Failed."""
    say("apply: two replicas, models a, b and fast; not counted")
    playbooks.declare(llm_models=declared(**{ALIAS: FIRST}))
    playbooks.play("playbooks/site.yml")
    bring_programs()
    switched, behind = [], FIRST
    for number in range(count):
        say(f"switch, {number + 1} of {count}")
        behind = SECOND if behind == FIRST else FIRST
        switched.append(switch(playbooks, ALIAS, behind, **{ALIAS: behind}))
    say("new alias")
    added = switch(playbooks, NEW_ALIAS, FIRST, **{ALIAS: behind, NEW_ALIAS: FIRST})

    def table() -> bool:
        say("\nmake models: an alias gets another model that is there, two replicas, a client asks every 50 ms")
        kept = show_switches(switched)
        failed, asked = (sum(getattr(run, name) for run in switched) for name in ("failed", "asked"))
        say(f"  {'questions without an answer':<{NAME_WIDTH}}{failed:6d} of {asked}")
        say("\nmake models: a new alias for a model that is there")
        show("first answer", [added.first_answer])
        show("whole run", [added.whole])
        return kept

    return table


def show_switches(runs: list[Switch]) -> bool:
    """Print the rows of the switch; return whether its limit is kept."""
    show("first answer by the new model", [run.first_answer for run in runs])
    show("whole run", [run.whole for run in runs])
    for step in STEPS:
        show(f"  {step}", [run.steps[step] for run in runs])
    show("LiteLLM's own start-up, the slower replica", [run.start_up for run in runs])
    ratio = statistics.median(run.start_ups for run in runs)
    return at_most("ratio of the whole run to that start-up", round(ratio, 2), MOST_START_UPS)
