"""Runs tasks that depend on each other, as many at a time as there are workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter


@dataclass(frozen=True)
class Task:
    """Work to be done once every task it needs is done."""

    work: Callable[[], None]
    needs: tuple[str, ...] = ()


def run_tasks(tasks: Mapping[str, Task], workers: int) -> None:
    """Runs every task; among those that are ready the one declared first starts first.

    When one fails, no other is started, those under way are waited for, and the first error is raised.
    Raises graphlib.CycleError when tasks need each other, KeyError when a need names no task.
    """
    for task in tasks.values():
        for need in task.needs:
            tasks[need]
    order = {name: place for place, name in enumerate(tasks)}
    sorter = TopologicalSorter({name: task.needs for name, task in tasks.items()})
    sorter.prepare()
    ready: list[str] = []
    running: dict[Future[None], str] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=workers) as pool:
        while sorter.is_active() and failure is None:
            ready = sorted([*ready, *sorter.get_ready()], key=order.__getitem__)
            while ready and len(running) < workers:
                name = ready.pop(0)
                running[pool.submit(tasks[name].work)] = name
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                sorter.done(running.pop(future))
                failure = failure or future.exception()
    if failure is not None:
        raise failure
