"""The bed's verbs on the command line."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bed import boxes
from bed import images as image_files
from bed import registry as registry_images
from bed import seed as seeds
from bed.clean import clean
from bed.commands import CommandFailed, Refused
from bed.engine import Engine
from bed.layout import Layout
from bed.progress import Progress
from bed.up import BOX_IMAGES, MODES, PUBLIC_IMAGES, TEST, bring_up

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str]) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 a command failed, 2 the user has to do something first."""
    options = parser().parse_args(arguments)
    layout = Layout.of_this_checkout()
    try:
        with Progress() as progress:
            if options.verb == "up":
                with exclusive(layout, progress):
                    bring_up(layout, progress, options.images)
            elif options.verb == "clean":
                with exclusive(layout, progress):
                    clean(layout, progress)
            elif options.action == "create":
                create_box(layout, progress, options)
            else:
                remove_boxes(layout, progress, options.scenario)
    except Refused as reason:
        print(reason, file=sys.stderr)
        return REFUSED
    except CommandFailed as failure:
        print(failure, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="bed", description="Disposable systemd boxes for demo and tests.")
    verbs = top.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="make everything boxes need; quick when it is there")
    up.add_argument(
        "--images",
        metavar="|".join(MODES),
        default=os.environ.get("IMAGES") or TEST,
        help="test: built from packages; upstream: published; auto: upstream when in reach (default: $IMAGES or test)",
    )
    verbs.add_parser("clean", help="remove everything the test bed made")
    box = verbs.add_parser("box", help="make or remove boxes").add_subparsers(dest="action", required=True)
    create = box.add_parser("create", help="make a box and wait until it has booted")
    create.add_argument("name")
    create.add_argument("--image", choices=BOX_IMAGES, default=BOX_IMAGES[0])
    create.add_argument("--scenario", required=True, help="boxes of one scenario are removed together")
    create.add_argument(
        "--seed",
        action=argparse.BooleanOptionalAction,
        help="begin with the images pulled (default: in a box with Docker)",
    )
    create.add_argument(
        "--registry",
        action=argparse.BooleanOptionalAction,
        help="public image names lead to the bed's registry (default: yes)",
    )
    remove = box.add_parser("remove", help="remove the boxes of a scenario")
    remove.add_argument("--scenario", required=True)
    return top


@contextmanager
def exclusive(layout: Layout, progress: Progress) -> Iterator[None]:
    """Waits for another run that changes what all boxes share."""
    layout.state.mkdir(exist_ok=True)
    with layout.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another run of the test bed is at work; waiting for it")
            with progress.step("waiting for the other run"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_box(layout: Layout, progress: Progress, options: argparse.Namespace) -> None:
    """Makes one box, with upstream images without registry and seed of the bed. Raises Refused, CommandFailed."""
    _require_engine(layout, progress)
    if not layout.mode.exists():
        raise Refused("the test bed is not up. Run: python molecule/shared/bed up")
    mode = layout.mode.read_text().strip()
    refs = image_files.references(image_files.image_list(layout))
    image = refs[options.image]
    if image not in image_files.present():
        raise Refused(f"image {options.image} is out of date. Run: python molecule/shared/bed up")
    seeded = options.image == BOX_IMAGES[0] if options.seed is None else options.seed
    box = boxes.Box(
        name=options.name,
        image=image,
        scenario=options.scenario,
        seed=_seed(layout, image, refs) if seeded and mode == TEST else None,
        registry=mode == TEST and options.registry is not False,
    )
    with progress.step(f"box {box.name}"):
        made = boxes.create(box)
    progress.say(f"box {box.name}: {'created' if made else 'was there'} ({options.image})")


def remove_boxes(layout: Layout, progress: Progress, scenario: str) -> None:
    """Removes a scenario's boxes. Raises Refused, CommandFailed."""
    _require_engine(layout, progress)
    with progress.step(f"removing the boxes of {scenario}"):
        count = boxes.remove(scenario)
    progress.say(f"boxes of {scenario}: {count} removed")


def _require_engine(layout: Layout, progress: Progress) -> None:
    if message := Engine(layout, progress).problem():
        raise Refused(f"Docker does not answer ({message.splitlines()[-1]}). Run: python molecule/shared/bed up")


def _seed(layout: Layout, box_image: str, refs: dict[str, str]) -> str:
    published = registry_images.public_images(layout.pinned_images.read_text())
    pushed = registry_images.read_pushed(layout)
    images = {name: published[name] for name in PUBLIC_IMAGES}
    if all(name in pushed and pushed[name]["image"] == refs[name] for name in images):
        name = seeds.seed_name(box_image, images, {name: pushed[name]["digest"] for name in images})
        if seeds.is_ready(layout, name):
            return name
    raise Refused("the seed is out of date. Run: python molecule/shared/bed up")
