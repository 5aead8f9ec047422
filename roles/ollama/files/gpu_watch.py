"""Notice that Ollama's container has lost its GPU, and recreate the container once.

A container that lost its GPU goes on answering from the CPU, slowly, and says nothing. The box runs this by
llm-gateway-ollama-gpu-watch.timer. Each line it prints is a JSON object with the keys event, mode, reason and action.
It prints none while the GPU works. The exit status is 1 while the GPU is lost.

It lies in the folder of Ollama's Compose project, and needs Docker and Python's standard library alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

CONTAINER = "llm-gateway-ollama"
SERVICE = "ollama"
PROJECT = Path(__file__).resolve().parent
# systemd makes it, and keeps it until the box starts anew.
STATE = Path("/run/llm-gateway-ollama-gpu-watch")
# It is in the project's folder from a change until its containers are healthy.
UNFINISHED = ".unfinished"
# The container was recreated, and its GPU has not been seen working since.
RECREATED = "recreated"

DOCKER_SECONDS = 30
# A driver that hangs is as good as lost, and nothing may pile up in the container.
NVIDIA_SECONDS = 30
CHECK_SECONDS = 60
HEALTHY_SECONDS = 180
# Beyond that Compose stops the old container, which may take 30 s, and makes the new one.
RECREATE_SECONDS = HEALTHY_SECONDS + 120

TIMED_OUT = 124
CANNOT_TELL = 64
# Docker's own, for a command that it could not even start in the container.
NOT_STARTED = (125, 126, 127)

ASK_NVIDIA = (
    f"if command -v nvidia-smi >/dev/null; then exec timeout {NVIDIA_SECONDS} nvidia-smi -L; "
    f"elif [ -e /dev/nvidiactl ]; then : <> /dev/nvidiactl; else exit {CANNOT_TELL}; fi"
)
OPEN_NODES = 'for node do : <> "$node" || exit 1; done'

NVIDIA, ROCM, VULKAN, CPU = "nvidia", "rocm", "vulkan", "cpu"
LOOK_AT_DRIVER = {
    NVIDIA: "nvidia-smi",
    ROCM: "journalctl --dmesg --grep=amdgpu",
    VULKAN: "journalctl --dmesg --grep=drm",
}


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    status: int
    output: str = ""
    error: str = ""

    @property
    def last_words(self) -> str:
        """The last line, which is where commands give their reason; errors before output."""
        lines = [line.strip() for line in (self.error.strip() or self.output).splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"status {self.status}"


Run = Callable[["list[str]", float], Answer]
Say = Callable[["dict[str, str]"], None]


@dataclass(frozen=True)
class Container:
    """A container that runs or could not be started, and what it was given of the GPUs."""

    id: str
    mode: str
    nodes: tuple[str, ...]
    # Why Docker could not start it, as at boot when the driver came later. Docker does not try again.
    start_error: str = ""


class NotNow(Exception):
    """There is nothing to watch, or nothing to find out. The message says why."""


def run_command(command: list[str], seconds: float) -> Answer:
    """Run a command; one that takes longer than that is ended."""
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, errors="replace", stdin=subprocess.DEVNULL, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return Answer(TIMED_OUT, error=f"no answer within {seconds:g} s")
    except OSError as error:
        return Answer(NOT_STARTED[-1], error=f"{command[0]}: {error.strerror}")
    return Answer(done.returncode, done.stdout, done.stderr)


def print_line(line: dict[str, str]) -> None:
    """Print a line for the journal."""
    print(json.dumps(line), flush=True)


def running_container(inspected: str) -> Container:
    """Read what ``docker container inspect`` printed about a container that ought to run.

    Raises:
        NotNow: it does not run, or not yet.
    """
    try:
        found = json.loads(inspected)[0]
        state = found["State"]
        status, health = state["Status"], (state.get("Health") or {}).get("Status", "")
        # Whoever stops a container leaves no error.
        start_error = str(state.get("Error") or "") if status in ("created", "exited") else ""
        given = found["HostConfig"]
        nodes = tuple(node["PathInContainer"] for node in given.get("Devices") or [])
        by_cdi = bool(given.get("DeviceRequests"))
        identity = str(found["Id"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotNow(f"what Docker tells of {CONTAINER} cannot be read: {error}") from error
    if not start_error and (status != "running" or health == "starting"):
        raise NotNow(f"{CONTAINER} is {status if status != 'running' else health}")
    return Container(identity, _mode(by_cdi, nodes), nodes, start_error)


def _mode(by_cdi: bool, nodes: tuple[str, ...]) -> str:
    if by_cdi:
        return NVIDIA
    if "/dev/kfd" in nodes:
        return ROCM
    return VULKAN if nodes else CPU


def watched_container(run: Run, project: Path) -> Container:
    """Return Ollama's container.

    Raises:
        NotNow: it does not run, is being changed, has no GPU, or Docker does not answer.
    """
    if (project / UNFINISHED).exists():
        raise NotNow(f"{project} is being changed; if no run of the playbook is under way, run make apply")
    answer = run(["docker", "container", "inspect", CONTAINER], DOCKER_SECONDS)
    if "no such container" in answer.error.lower():
        raise NotNow(f"there is no container {CONTAINER}")
    if answer.status != 0:
        raise NotNow(f"Docker does not answer: {answer.last_words}")
    container = running_container(answer.output)
    if container.mode == CPU:
        raise NotNow(f"{CONTAINER} was given no GPU; run make apply if it ought to have one")
    return container


def loss(run: Run, container: Container) -> str:
    """Return why the container's GPU counts as lost; empty while it works.

    Raises:
        NotNow: that cannot be found out.
    """
    if container.start_error:
        return f"Docker could not start it: {container.start_error}"[:300]
    question = [ASK_NVIDIA] if container.mode == NVIDIA else [OPEN_NODES, "sh", *container.nodes]
    answer = run(["docker", "exec", container.id, "sh", "-c", *question], CHECK_SECONDS)
    if container.mode == NVIDIA and answer.status == CANNOT_TELL:
        raise NotNow(f"{CONTAINER} has neither nvidia-smi nor /dev/nvidiactl to tell by")
    if answer.status in NOT_STARTED:
        raise NotNow(f"nothing can be run in {CONTAINER}: {answer.last_words}")
    if answer.status == TIMED_OUT:
        return answer.error or f"nvidia-smi gave no answer within {NVIDIA_SECONDS} s"
    # With every GPU gone, nvidia-smi may still call that a success.
    if answer.status != 0 or "No devices" in answer.output:
        return answer.last_words
    return ""


def recreate(run: Run, project: Path) -> Answer:
    """Put a new container in the place of Ollama's, and wait until it is healthy."""
    compose = ["docker", "compose", "--project-directory", str(project), "--file", str(project / "compose.yml")]
    anew = ["up", "--detach", "--force-recreate", "--no-deps", "--wait", "--wait-timeout", str(HEALTHY_SECONDS)]
    return run([*compose, *anew, SERVICE], RECREATE_SECONDS)


def loss_after_recreating(run: Run, project: Path) -> str:
    """Recreate the container; return why its GPU still counts as lost, empty when it works."""
    made = recreate(run, project)
    try:
        left = loss(run, watched_container(run, project))
    except NotNow as why:
        left = str(why)
    return f"{left}; Compose says: {made.last_words}" if left and made.status != 0 else left


def watch(run: Run, say: Say, project: Path, state: Path) -> int:
    """Look once, do what is to be done, and return the exit status: 1 when the GPU is lost, otherwise 0.

    Args:
        run: runs a command within a number of seconds.
        say: takes what happened.
        project: the folder of Ollama's Compose project.
        state: the folder in which this remembers that it recreated the container.
    """
    recreated = state / RECREATED
    try:
        container = watched_container(run, project)
        reason = loss(run, container)
        # A container that was stopped or replaced meanwhile could not answer either.
        if reason and watched_container(run, project) != container:
            raise NotNow(f"{CONTAINER} has just been replaced")
    except NotNow as why:
        say(_line("not_checked", "", str(why), "none"))
        return 0
    if not reason:
        if recreated.exists():
            recreated.unlink()
            say(_line("gpu_recovered", container.mode, "the GPU works again", "none"))
        return 0
    if not recreated.exists():
        say(_line("gpu_lost", container.mode, reason, "recreate the container, once"))
        # Before, so that whoever is killed meanwhile does not recreate it again and again.
        state.mkdir(exist_ok=True)
        recreated.write_text(f"{reason}\n", encoding="utf-8")
        reason = loss_after_recreating(run, project)
        if not reason:
            recreated.unlink()
            say(_line("gpu_recovered", container.mode, "the GPU works again", "the container was recreated"))
            return 0
    say(_line("gpu_still_lost", container.mode, reason, _advice(container.mode)))
    return 1


def _line(event: str, mode: str, reason: str, action: str) -> dict[str, str]:
    return {"event": event, "mode": mode, "reason": reason, "action": action}


def _advice(mode: str) -> str:
    return (
        "none, since the container was recreated already. Ollama answers from the CPU. See whether the driver works on "
        f"the box ({LOOK_AT_DRIVER[mode]}), reboot the box if it does not, and run make apply if it does"
    )


if __name__ == "__main__":
    sys.exit(watch(run_command, print_line, PROJECT, STATE))
