"""Removes what the bed made, found by its label, and nothing else."""

from __future__ import annotations

import shutil

from bed.commands import docker, docker_lines
from bed.engine import Engine
from bed.layout import OWNER_FILTER, Layout
from bed.progress import Progress


def clean(layout: Layout, progress: Progress) -> None:
    """Removes containers, volumes, networks, images and the state folder. Raises CommandFailed, Refused."""
    engine = Engine(layout, progress)
    if engine.start_if_installed():
        _remove_from_engine(progress)
        engine.stop_if_ours()
    if layout.state.exists():
        shutil.rmtree(layout.state)
        progress.say(f"removed {layout.state.name}/")


def _remove_from_engine(progress: Progress) -> None:
    removals = (
        ("containers", ("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        ("volumes", ("volume", "ls", "--quiet"), ("volume", "rm")),
        ("networks", ("network", "ls", "--quiet"), ("network", "rm")),
    )
    for what, listing, removal in removals:
        with progress.step(f"removing {what}"):
            found = docker_lines(*listing, "--filter", OWNER_FILTER)
            if found:
                docker(*removal, *found)
                progress.say(f"removed {len(found)} {what}")
    with progress.step("removing images"):
        count = 0
        # An image whose children go with it in the same command vanishes by itself, so the list is read anew.
        while found := docker_lines("image", "ls", "--quiet", "--no-trunc", "--filter", OWNER_FILTER):
            docker("image", "rm", "--force", found[0])
            count += 1
        if count:
            progress.say(f"removed {count} images")
