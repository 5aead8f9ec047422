"""What systemd gets of a project: copies of the unit files that lie beside its compose.yml.

Copies and no links: systemd reads its units before other file systems are mounted, and SELinux labels them by their
folder. What systemd has is compared with what the project has, so units whose project lost them go away whatever
happened in between.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from . import files

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_UNITS = "/etc/systemd/system"
TIMER = ".timer"
SUFFIXES = (".service", TIMER)

# Runs a command and returns its exit status, output and errors (AnsibleModule.run_command).
Run = Callable[[list[str]], Any]


@dataclass(frozen=True)
class UnitPlan:
    """The steps in systemd's folder, the units to stop before them and the timers to start after them."""

    steps: list[files.Step]
    stop: list[str]
    start: list[str]


def prefix(root: str) -> str:
    """Return how the names of a project's units begin, by which they are known in systemd's folder."""
    return f"llm-gateway-{posixpath.basename(root)}-"


def units_of(root: str, wanted: Mapping[str, files.Wanted]) -> dict[str, files.Wanted]:
    """Return the unit files among the files of a project.

    Raises:
        DeclarationError: one has a name that could be somebody else's.
    """
    units = {
        name: file
        for name, file in wanted.items()
        if file.kind == "file" and "/" not in name and name.endswith(SUFFIXES)
    }
    problems = [
        f"files: '{name}' is a unit for systemd, so its name must begin with {prefix(root)}"
        for name in units
        if not name.startswith(prefix(root))
    ]
    if problems:
        raise files.DeclarationError(problems)
    return units


def plan_units(root: str, wanted: Mapping[str, files.Wanted], run: Run) -> UnitPlan:
    """Return what makes systemd's units of a project those that are wanted; systemd is asked only where there are any.

    Args:
        root: the project's folder.
        wanted: what is to be in it; nothing when the project goes.
        run: runs a command.
    """
    units = units_of(root, wanted)
    there = [name for name in _listed(SYSTEM_UNITS) if name.startswith(prefix(root)) and name.endswith(SUFFIXES)]
    paths = {name: posixpath.join(SYSTEM_UNITS, name) for name in sorted({*units, *there})}
    current = {path: entry for path in paths.values() if (entry := files.read_entry(path, read=True))}
    steps = files.plan_files({paths[name]: unit for name, unit in units.items()}, current)
    changed = {step.path for step in steps}
    start = [name for name in units if name.endswith(TIMER) and (paths[name] in changed or not _is_on(name, run))]
    return UnitPlan(steps, sorted(set(there) - set(units), reverse=True), start)


def apply_units(plan: UnitPlan, move: files.Move, temporary: str | None, run: Run) -> None:
    """Carry a plan out.

    Raises:
        ProjectError: systemd refused something.
    """
    if plan.stop:
        _systemctl(run, "disable", "--now", *plan.stop)
        # What failed would stay in `systemctl --failed` without its file; systemd objects where it has not failed.
        run(["systemctl", "reset-failed", *plan.stop])
    files.apply_steps(plan.steps, move, temporary)
    if plan.steps or plan.start:
        _systemctl(run, "daemon-reload")
    for timer in plan.start:
        _systemctl(run, "enable", timer)
        # A timer that runs goes on counting by its old file until it starts anew.
        _systemctl(run, "restart", timer)


def describe_start(plan: UnitPlan) -> list[dict[str, str]]:
    """Return the timers that are started in the form of Ansible's ``diff``."""
    return [{"before_header": timer, "after_header": timer, "before": "", "after": "started\n"} for timer in plan.start]


def _listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _is_on(timer: str, run: Run) -> bool:
    return all(run(["systemctl", question, "--quiet", timer])[0] == 0 for question in ("is-enabled", "is-active"))


def _systemctl(run: Run, *words: str) -> None:
    status, _, error = run(["systemctl", *words])
    if status != 0:
        raise files.ProjectError(f"systemctl {' '.join(words)} failed: {error.strip() or f'status {status}'}")
