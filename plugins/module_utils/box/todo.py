"""What Docker still needs on a box, as a list of decisions that the role docker carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from .daemon import with_log_rotation
from .install import UnsupportedOs, docker_install_plan
from .problems import docker_problems

if TYPE_CHECKING:
    from .install import InstallPlan
    from .shapes import BoxFacts, Wanted


class DockerTodo(TypedDict):
    """The decisions. ``unseen`` says what of them check mode cannot show by the tasks themselves."""

    problems: list[str]
    install: InstallPlan | None
    log_rotation: bool
    start: bool
    create_network: bool
    pull: list[str]
    unseen: list[str]


def docker_todo(facts: BoxFacts, wanted: Wanted) -> DockerTodo:
    """Decide from what is there. An engine that runs is neither upgraded nor restarted.

    ``wanted`` holds ``install`` (bool), ``network`` (name), ``images`` (list of names), ``log_max_size`` (Docker's
    words) and ``log_max_file``.
    """
    docker = facts["docker"]
    problems = docker_problems(facts, install=bool(wanted["install"]))
    config = docker["daemon_config"]
    if config["error"]:
        problems.append(config["error"])
    plan = None
    if not problems and not (docker["client"] and docker["engine"]):
        try:
            plan = docker_install_plan(facts["os"])
        except UnsupportedOs as error:
            problems.append(str(error))
    rotated = with_log_rotation(config["log"], str(wanted["log_max_size"]), int(wanted["log_max_file"]))
    service = docker["service"]
    todo: DockerTodo = {
        "problems": problems,
        "install": plan,
        # dockerd refuses to start when a flag and daemon.json set the same thing.
        "log_rotation": rotated != config["log"] and not service["log_flags"],
        "start": plan is None and (not docker["running"] or (service["state"] != "missing" and not service["enabled"])),
        "create_network": docker["network_exists"] is False,
        "pull": list(docker["images_missing"] or []),
        "unseen": [],
    }
    todo["unseen"] = _unseen(todo, wanted)
    return todo


def _unseen(todo: DockerTodo, wanted: Wanted) -> list[str]:
    lines = []
    plan = todo["install"]
    if plan:
        origin = f" from {plan['repository']['url']}" if plan["repository"] else " from the distribution"
        lines.append(f"Would install {', '.join(plan['packages'])}{origin} and start Docker")
        if plan["kernel_modules"]:
            lines.append(f"Would install {plan['kernel_modules']} from the distribution")
    if plan or todo["create_network"]:
        lines.append(f"Would create the Docker network {wanted['network']}")
    # A box without Docker has none of the images.
    lines += [f"Would pull {image}" for image in (wanted["images"] if plan else todo["pull"])]
    return lines


def pull_problems(results: list[dict[str, object]]) -> list[str]:
    """A text for each failed result of a loop of `docker pull`, with Docker's own last words."""
    problems = []
    for result in results:
        if not result.get("failed"):
            continue
        words = str(result.get("stderr") or result.get("msg") or "no reason given").strip().splitlines()
        problems.append(
            f"The image {result.get('item')} could not be pulled: {words[-1]}. Its name stands in "
            "group_vars/all/images.yml; check it there, and that this box reaches the registry."
        )
    return problems
