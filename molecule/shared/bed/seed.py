"""A prepared /var/lib/docker: the public images pulled once by an engine like the boxes' own."""

from __future__ import annotations

import hashlib
import json
import time

from bed.boxes import Box, copy_seed, create, remove
from bed.commands import CommandFailed, docker, docker_lines
from bed.layout import OWNER_FILTER, Layout
from bed.progress import Progress
from bed.registry import PublicImage
from bed.services import ensure_volume

PREFIX = "llm-bed-seed-"
SCENARIO = "bed-seed"
MAKER = "llm-bed-seed-maker"
ENGINE_SECONDS = 60


def seed_name(box_image: str, images: dict[str, PublicImage], digests: dict[str, str]) -> str:
    """The seed's volume: an engine of one version, and these images."""
    content = json.dumps([box_image, {name: [image.reference, digests[name]] for name, image in images.items()}])
    return PREFIX + hashlib.sha256(content.encode()).hexdigest()[:12]


def is_ready(layout: Layout, name: str) -> bool:
    """Whether this seed was finished and is still there."""
    return layout.seed.exists() and layout.seed.read_text().strip() == name and name in _volumes()


def make_seed(
    layout: Layout,
    progress: Progress,
    name: str,
    box_image: str,
    images: dict[str, PublicImage],
    digests: dict[str, str],
) -> None:
    """Pulls the images in a box, by digest and by tag, and keeps its /var/lib/docker. Raises CommandFailed."""
    begin = progress.seconds
    with progress.step("seed"):
        _remove_leftovers()
        box = Box(MAKER, box_image, SCENARIO, seed=None, registry=True)
        create(box)
        wait_engine(MAKER)
        for key, image in images.items():
            docker("exec", MAKER, "docker", "pull", "--quiet", f"{image.reference}@{digests[key]}")
            docker("exec", MAKER, "docker", "pull", "--quiet", image.reference)
        # Its databases are copied as files: nothing may hold them open.
        docker("exec", MAKER, "systemctl", "stop", "docker.socket", "docker.service", "containerd.service")
        ensure_volume(name)
        copy_seed(box.volumes["/var/lib/docker"], name, box_image)
        remove(SCENARIO)
        layout.seed.write_text(f"{name}\n")
    progress.say(f"seed: {len(images)} images pulled by digest in {progress.seconds - begin:.0f} s")


def wait_engine(box: str) -> None:
    """Waits until the engine inside a box answers. Raises CommandFailed."""
    deadline = time.monotonic() + ENGINE_SECONDS
    while True:
        try:
            docker("exec", box, "docker", "version")
            return
        except CommandFailed:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _volumes() -> list[str]:
    every = docker_lines("volume", "ls", "--quiet", "--filter", OWNER_FILTER)
    return [name for name in every if name.startswith(PREFIX)]


def _remove_leftovers() -> None:
    """Removes earlier and half-made seeds; boxes made from a seed keep their files."""
    remove(SCENARIO)
    if leftovers := _volumes():
        docker("volume", "rm", *leftovers)
