"""The images in the bed's registry under their public names, and the digests they have there."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from dataclasses import dataclass, replace
from typing import Any

import yaml

from bed.commands import CommandFailed, docker, run
from bed.layout import Layout
from bed.progress import Progress
from bed.services import REGISTRY

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
START_SECONDS = 20


@dataclass(frozen=True)
class PublicImage:
    """An image as users name it."""

    repository: str
    tag: str
    digest: str = ""
    """As declared; empty when the tag alone counts."""

    @property
    def path(self) -> str:
        """Its path inside the registry: the name without the host."""
        return self.repository.partition("/")[2]

    @property
    def reference(self) -> str:
        """Name and tag."""
        return f"{self.repository}:{self.tag}"


def public_images(text: str) -> dict[str, PublicImage]:
    """The images of the variable `llm_images` in this YAML text. Raises KeyError when there is none."""
    declared = yaml.safe_load(text)["llm_images"]
    return {
        name: PublicImage(entry["repository"], str(entry["tag"]), entry.get("digest") or "")
        for name, entry in declared.items()
    }


def variant_of(image: PublicImage, variant: str) -> PublicImage:
    """The image beside this one that stands for another version; only its own digest counts."""
    return replace(image, tag=f"{image.tag}-{variant}", digest="")


def pinned(images: dict[str, PublicImage], digests: dict[str, str]) -> dict[str, Any]:
    """The variable `llm_images` with these digests in place of the declared ones."""
    return {
        "llm_images": {
            name: {"repository": image.repository, "tag": image.tag, "digest": digests.get(name, image.digest)}
            for name, image in images.items()
        }
    }


def pushed_digest(output: str) -> str:
    """The digest in what `docker push` prints. Raises ValueError when there is none."""
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
    if found is None:
        raise ValueError(f"docker push printed no digest: {output[-200:]!r}")
    return found.group(1)


class Registry:
    """The running registry, seen from this machine."""

    def __init__(self, layout: Layout, progress: Progress) -> None:
        self._layout = layout
        self._progress = progress

    def port(self) -> int:
        """The port on 127.0.0.1; it differs after every start. Raises CommandFailed."""
        return int(docker("port", REGISTRY, "443/tcp").splitlines()[0].rpartition(":")[2])

    def wait(self) -> None:
        """Waits until it answers. Raises CommandFailed with its log when it does not."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._head("/v2/")
                return
            except (OSError, http.client.HTTPException, CommandFailed) as problem:
                if time.monotonic() > deadline:
                    output = f"{problem}\n{docker('logs', REGISTRY)}"
                    raise CommandFailed(["docker", "logs", REGISTRY], 1, output) from None
            time.sleep(0.1)

    def digest_of(self, image: PublicImage) -> str | None:
        """The digest the registry holds for this name and tag."""
        return self._head(f"/v2/{image.path}/manifests/{image.tag}")

    def push(self, local: str, image: PublicImage) -> str:
        """Pushes a local image under its public name and returns its digest. Raises CommandFailed."""
        log = self._layout.logs / f"push-{image.path.replace('/', '-')}.log"
        log.unlink(missing_ok=True)
        remote = f"127.0.0.1:{self.port()}/{image.path}:{image.tag}"
        begin = self._progress.seconds
        with self._progress.step(f"push {image.reference}"):
            docker("tag", local, remote)
            try:
                digest = pushed_digest(run(["docker", "push", remote], log=log))
            finally:
                docker("image", "rm", "--no-prune", remote)
        self._progress.say(f"{image.reference}: pushed in {self._progress.seconds - begin:.0f} s")
        return digest

    def _head(self, path: str) -> str | None:
        context = ssl.create_default_context(cafile=str(self._layout.authority / "ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port(), timeout=5, context=context)
        try:
            connection.request("HEAD", path, headers={"Accept": MANIFEST})
            answer = connection.getresponse()
            return answer.headers["Docker-Content-Digest"] if answer.status == 200 else None
        finally:
            connection.close()


def read_pushed(layout: Layout) -> dict[str, dict[str, str]]:
    """By name: the local image that was pushed last, and its digest."""
    if not layout.pushed.exists():
        return {}
    found: dict[str, dict[str, str]] = json.loads(layout.pushed.read_text())
    return found
