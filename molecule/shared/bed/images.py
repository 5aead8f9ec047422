"""The bed's images: built from Debian and PyPI packages, tagged with a hash of everything that goes into them."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bed.commands import CommandFailed, Refused, docker, docker_lines, run
from bed.layout import OWNER_FILTER, OWNER_LABEL, Layout
from bed.progress import Progress

REPOSITORY = "llm-bed"

MMDEBSTRAP = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=Acquire::Retries "5"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
)
"""Makes a Debian root file system without documentation."""


@dataclass(frozen=True)
class Image:
    """One image: a Debian suite when it has no parent, else a Dockerfile on top of its parent."""

    name: str
    parent: str | None
    folder: Path | None = None
    inputs: tuple[Path, ...] = ()
    """Files that lie outside the folder and are copied into the build context under their own names."""

    @property
    def suite(self) -> str:
        """Debian suite of an image without a parent."""
        return self.name.partition(":")[2]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the build context, sorted by name."""
        own = self.folder.iterdir() if self.folder else ()
        return tuple(sorted((*own, *self.inputs), key=lambda path: path.name))


def image_list(layout: Layout) -> dict[str, Image]:
    """Every image by name; a parent comes before its children, and the longest chain first."""
    authority = (layout.authority / "ca.pem",)
    ollama, provider = layout.doubles / "ollama.py", layout.doubles / "provider.py"
    images = [
        Image("slim:trixie", None),
        Image("python:trixie", "slim:trixie", layout.images / "python"),
        Image("litellm", "python:trixie", layout.images / "litellm"),
        Image("litellm-next", "litellm", layout.images / "litellm-next"),
        Image("litellm-broken", "litellm", layout.images / "litellm-broken"),
        Image("registry", "slim:trixie", layout.images / "registry"),
        Image("redis", "slim:trixie", layout.images / "redis"),
        Image("caddy", "slim:trixie", layout.images / "caddy"),
        Image("ollama", "python:trixie", layout.images / "ollama", (ollama,)),
        Image("ollama-rocm", "ollama", layout.images / "ollama-rocm"),
        Image("box-bare:trixie", "slim:trixie", layout.images / "box-bare", authority),
        Image("box-docker:trixie", "box-bare:trixie", layout.images / "box-docker"),
        Image("doubles", "python:trixie", layout.images / "doubles", (ollama, provider)),
        Image("llamacpp", "slim:trixie", layout.images / "llamacpp"),
        Image("slim:bookworm", None),
        Image("box-bare:bookworm", "slim:bookworm", layout.images / "box-bare", authority),
    ]
    return {image.name: image for image in images}


def references(images: dict[str, Image]) -> dict[str, str]:
    """The Docker reference of every image; its tag changes when anything that goes into it or its parents does.

    Raises Refused when a file is missing.
    """
    found: dict[str, str] = {}
    for image in images.values():
        digest = hashlib.sha256(image.name.encode())
        if image.parent is None:
            digest.update(f"{MMDEBSTRAP} {OWNER_LABEL}".encode())
        else:
            digest.update(found[image.parent].encode())
        for path in image.files:
            if not path.exists():
                raise Refused(f"{path} is missing; image {image.name} is built from it.")
            facts = path.stat()
            digest.update(f"{path.name} {facts.st_mode & 0o111} {facts.st_size}\n".encode() + path.read_bytes())
        found[image.name] = f"{REPOSITORY}/{image.name.replace(':', '-')}:{digest.hexdigest()[:12]}"
    return found


def with_parents(images: dict[str, Image], names: Iterable[str]) -> list[str]:
    """These images and all they are built on, in the order of the list."""
    wanted: set[str] = set()
    for name in names:
        current: str | None = name
        while current is not None and current not in wanted:
            wanted.add(current)
            current = images[current].parent
    return [name for name in images if name in wanted]


def present() -> set[str]:
    """References of the bed's images that this machine's engine holds."""
    return set(docker_lines("image", "ls", "--filter", OWNER_FILTER, "--format", "{{.Repository}}:{{.Tag}}"))


def remove_outdated(current: Iterable[str]) -> int:
    """Removes images of earlier inputs that no container uses; returns how many."""
    keep = set(current)
    outdated = [ref for ref in present() if ref.startswith(f"{REPOSITORY}/") and ref not in keep]
    removed = 0
    for reference in outdated:
        try:
            docker("image", "rm", reference)
            removed += 1
        except CommandFailed as failure:
            if "conflict" not in failure.output:
                raise
    return removed


class Builder:
    """Builds images that are missing."""

    def __init__(self, layout: Layout, progress: Progress, images: dict[str, Image], refs: dict[str, str]) -> None:
        self._layout = layout
        self._progress = progress
        self._images = images
        self._refs = refs

    def build(self, name: str) -> None:
        """Builds one image, whose parent is there. Raises CommandFailed."""
        image = self._images[name]
        log = self._layout.logs / f"image-{name.replace(':', '-')}.log"
        log.unlink(missing_ok=True)
        begin = self._progress.seconds
        with self._progress.step(f"image {name}"):
            if image.parent is None:
                self._bootstrap(image, log)
            else:
                self._build_on(image, self._refs[image.parent], log)
        size = int(docker("image", "inspect", "--format", "{{.Size}}", self._refs[name]))
        self._progress.say(f"{name}: built in {self._progress.seconds - begin:.0f} s, {size / 1e6:.0f} MB")

    def fetch_wheels(self, name: str) -> None:
        """Unpacks the locked wheels of an image into its build context. Raises CommandFailed."""
        log = self._layout.logs / f"wheels-{name}.log"
        log.unlink(missing_ok=True)
        lock = self._layout.images / name / "requirements.txt"
        site = self._context(self._images[name]) / "site"
        shutil.rmtree(site, ignore_errors=True)
        with self._progress.step(f"{name} wheels"):
            run(wheel_command(find_uv(), site, lock, platform.machine()), log=log, env={"UV_HTTP_RETRIES": "10"})
        wheels = len(list(site.glob("*.dist-info")))
        self._progress.say(f"{name}: {wheels} wheels installed")

    def _context(self, image: Image) -> Path:
        return self._layout.build / image.name.replace(":", "-")

    def _bootstrap(self, image: Image, log: Path) -> None:
        context = self._context(image)
        context.mkdir(parents=True, exist_ok=True)
        archive = context / "root.tar"
        run([*MMDEBSTRAP, image.suite, str(archive)], log=log)
        reference = self._refs[image.name]
        run(["docker", "import", "--change", f"LABEL {OWNER_LABEL}", str(archive), reference], log=log)
        shutil.rmtree(context)

    def _build_on(self, image: Image, base: str, log: Path) -> None:
        context = self._context(image)
        context.mkdir(parents=True, exist_ok=True)
        for path in image.files:
            shutil.copy2(path, context / path.name)
        command = ["docker", "build", "--force-rm", "--build-arg", f"BASE={base}"]
        # The classic builder: BuildKit needs a plugin that distributions often lack.
        run([*command, "--tag", self._refs[image.name], str(context)], log=log, env={"DOCKER_BUILDKIT": "0"})
        shutil.rmtree(context)


def wheel_command(uv: str, site: Path, lock: Path, machine: str) -> list[str]:
    """Installs locked wheels for Debian trixie's Python into a folder, whatever Python runs on this machine."""
    target = {"arm64": "aarch64"}.get(machine, machine)
    return [
        *(uv, "pip", "install", "--target", str(site), "--requirements", str(lock), "--require-hashes"),
        *("--system-certs", "--no-deps", "--no-build", "--no-python-downloads", "--python", sys.executable),
        *("--python-version", "3.13", "--python-platform", f"{target}-manylinux_2_40"),
    ]


def find_uv() -> str:
    """The uv that belongs to this Python, else the one on the path. Raises Refused."""
    found = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise Refused("uv is missing. Install this project's tools: pip install -r requirements.txt")
    return found
