"""Makes everything that boxes need, and only what is missing."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial

import yaml

from bed import images as image_files
from bed import registry as registry_images
from bed import seed as seeds
from bed.certificates import ensure_certificates
from bed.commands import Refused
from bed.engine import Engine
from bed.graph import Task, run_tasks
from bed.layout import Layout
from bed.progress import Progress
from bed.secrets_file import ensure_secrets
from bed.services import (
    DOUBLES,
    REGISTRY,
    doubles_service,
    ensure_networks,
    ensure_service,
    ensure_volume,
    registry_service,
)

WORKERS = 2
MODES = TEST, UPSTREAM, AUTO = "test", "upstream", "auto"

BOX_IMAGES = ("box-docker:trixie", "box-bare:trixie", "box-bare:bookworm")
PUBLIC_IMAGES = ("litellm", "redis", "ollama", "caddy", "llamacpp")
"""Built here, and served under the public names of `llm_images`."""

VARIANTS = {"next": "litellm", "broken": "litellm", "rocm": "ollama"}
"""Other versions and kinds of public images, served beside them under a tag that ends in the variant's name."""

PROBE_URLS = ("https://registry-1.docker.io/v2/", "https://ghcr.io/v2/")
PROBE_SECONDS = 3.0


def registries_in_reach(urls: tuple[str, ...] = PROBE_URLS, timeout_s: float = PROBE_SECONDS) -> bool:
    """Whether every registry that the published images come from is in reach."""
    return all(registry_in_reach(url, timeout_s) for url in urls)


def registry_in_reach(url: str, timeout_s: float = PROBE_SECONDS) -> bool:
    """Whether an image registry answers there, even if it asks for a login."""
    try:
        urllib.request.urlopen(url, timeout=timeout_s).close()  # noqa: S310 -- no user gives the address
    except urllib.error.HTTPError as answer:
        return answer.code in {401, 429}
    except OSError:
        return False
    return True


def choose_mode(asked: str, progress: Progress, in_reach: Callable[[], bool] = registries_in_reach) -> str:
    """`test` or `upstream`; `auto` takes upstream's images when a registry is in reach, and says which it uses.

    Raises Refused when asked for anything else.
    """
    if asked not in MODES:
        raise Refused(f"IMAGES={asked} is unknown; write one of: {', '.join(MODES)}.")
    if asked != AUTO:
        return asked
    if in_reach():
        progress.say("images: an image registry is in reach, using the published images")
        return UPSTREAM
    progress.say("images: no image registry in reach, using images built here from packages (Ollama is a stand-in)")
    return TEST


def bring_up(layout: Layout, progress: Progress, asked: str) -> None:
    """Makes engine, images, registry, stand-ins, pins and seed. Raises Refused, CommandFailed."""
    layout.state.mkdir(exist_ok=True)
    mode = choose_mode(asked, progress)
    Engine(layout, progress).ensure()
    ensure_certificates(layout)
    ensure_secrets(layout)
    ensure_networks()
    images = image_files.image_list(layout)
    refs = image_files.references(images)
    published = registry_images.public_images(layout.pinned_images.read_text())
    Bed(layout, progress, images, refs, published).make(mode)
    layout.mode.write_text(f"{mode}\n")
    shutil.rmtree(layout.build, ignore_errors=True)
    progress.say(f"test bed ready ({mode} images)")


class Bed:
    """The tasks of one `bed up`; each looks first whether its result is there."""

    def __init__(
        self,
        layout: Layout,
        progress: Progress,
        images: dict[str, image_files.Image],
        refs: dict[str, str],
        published: dict[str, registry_images.PublicImage],
    ) -> None:
        self._layout = layout
        self._progress = progress
        self._images = images
        self._refs = refs
        self._published = published
        self._builder = image_files.Builder(layout, progress, images, refs)
        self._registry = registry_images.Registry(layout, progress)
        self._digests: dict[str, str] = {}
        self._memory = threading.Lock()

    def make(self, mode: str) -> None:
        """Runs what is missing, independent tasks at the same time. Raises CommandFailed."""
        tops = [*BOX_IMAGES, "doubles", "llamacpp"] if mode == UPSTREAM else list(self._images)
        tasks = self._build_tasks(tops)
        tasks[DOUBLES] = Task(self._start_doubles, _only(tasks, "doubles"))
        if mode == UPSTREAM:
            self._write_pins()
        else:
            tasks |= self._serve_tasks(tasks)
            tasks |= self._variant_tasks(tasks)
        run_tasks(tasks, WORKERS)
        with self._progress.step("removing outdated images"):
            removed = image_files.remove_outdated(self._refs.values())
        if removed:
            self._progress.say(f"removed {removed} outdated images")

    def _build_tasks(self, tops: list[str]) -> dict[str, Task]:
        there = image_files.present()
        missing = [name for name in image_files.with_parents(self._images, tops) if self._refs[name] not in there]
        tasks: dict[str, Task] = {}
        for name in missing:
            parent = self._images[name].parent
            needs = (parent,) if parent in missing and parent is not None else ()
            if name == "litellm":
                tasks["litellm wheels"] = Task(partial(self._builder.fetch_wheels, name))
                needs = (*needs, "litellm wheels")
            tasks[name] = Task(partial(self._builder.build, name), needs)
        return tasks

    def _serve_tasks(self, built: dict[str, Task]) -> dict[str, Task]:
        tasks = {REGISTRY: Task(self._start_registry, _only(built, "registry"))}
        for name in PUBLIC_IMAGES:
            tasks[f"push {name}"] = Task(partial(self._push, name), (REGISTRY, *_only(built, name)))
        tasks["pins"] = Task(self._write_pins, tuple(f"push {name}" for name in PUBLIC_IMAGES))
        tasks["seed"] = Task(self._seed, ("pins", *_only(built, "box-docker:trixie")))
        return tasks

    def _variant_tasks(self, others: dict[str, Task]) -> dict[str, Task]:
        """Declared last, so that the seed, which takes long, never waits for them."""
        tasks = {}
        for variant, name in VARIANTS.items():
            needs = ("pins", *_only(others, f"{name}-{variant}"))
            tasks[f"pins {variant}"] = Task(partial(self._serve_variant, name, variant), needs)
        return tasks

    def _start_doubles(self) -> None:
        service = doubles_service(self._layout, self._refs["doubles"], self._layout.provider_keys)
        if ensure_service(service):
            self._progress.say("provider stand-ins started")

    def _start_registry(self) -> None:
        ensure_volume(REGISTRY)
        if ensure_service(registry_service(self._layout, self._refs["registry"])):
            self._registry.wait()
            self._progress.say("image registry started")

    def _push(self, name: str) -> None:
        self._digests[name] = self._pushed(name, self._published[name])

    def _pushed(self, name: str, image: registry_images.PublicImage) -> str:
        """The digest of a built image in the registry, which has it afterwards. Raises CommandFailed."""
        local = self._refs[name]
        with self._memory:
            pushed = registry_images.read_pushed(self._layout).get(name)
        held = self._registry.digest_of(image)
        if held is None or pushed != {"image": local, "digest": held}:
            held = self._registry.push(local, image)
        return held

    def _write_pins(self) -> None:
        pins = registry_images.pinned(self._published, self._digests)
        self._layout.pins.write_text(yaml.safe_dump(pins, sort_keys=False))
        for name, digest in self._digests.items():
            self._remember_pushed(name, digest)

    def _serve_variant(self, name: str, variant: str) -> None:
        image = registry_images.variant_of(self._published[name], variant)
        digest = self._pushed(f"{name}-{variant}", image)
        self._remember_pushed(f"{name}-{variant}", digest)
        pins = registry_images.pinned({**self._published, name: image}, {**self._digests, name: digest})
        self._layout.pins_of(variant).write_text(yaml.safe_dump(pins, sort_keys=False))

    def _remember_pushed(self, name: str, digest: str) -> None:
        with self._memory:
            pushed = registry_images.read_pushed(self._layout)
            pushed[name] = {"image": self._refs[name], "digest": digest}
            self._layout.pushed.write_text(json.dumps(pushed, indent=1))

    def _seed(self) -> None:
        box = self._refs["box-docker:trixie"]
        images = {name: self._published[name] for name in PUBLIC_IMAGES}
        name = seeds.seed_name(box, images, self._digests)
        if not seeds.is_ready(self._layout, name):
            seeds.make_seed(self._layout, self._progress, name, box, images, self._digests)


def _only(tasks: dict[str, Task], name: str) -> tuple[str, ...]:
    """The task as a need, when there is anything to do."""
    return (name,) if name in tasks else ()
