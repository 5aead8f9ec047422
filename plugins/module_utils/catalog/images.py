"""Container images: the reference to run, and the security floor below which nothing is deployed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .fields import Field, Undefined, kind_of, read, text
from .problems import Problem

# Oldest versions without a known way in: LiteLLM PYSEC-2026-388 (Host header bypass), Ollama's new engine and API names
# (CVE-2026-7482 was fixed before it), Redis CVE-2025-49844 (Lua use after free), Caddy CVE-2026-27587 (path rules that
# another spelling walks around), llama.cpp CVE-2026-21869 (a request writes outside the server's memory).
FLOORS = {
    "litellm": "1.84.0",
    "ollama": "0.30.0",
    "redis": "8.2.2",
    "caddy": "2.11.1",
    "llamacpp": "server-b9159",
}
# Needed only where something is declared that runs in them, so files of an earlier version need not name them.
OPTIONAL = ("llamacpp",)
# Where an image and the service that runs it have different names.
SERVICE_OF_IMAGE = {"caddy": "ingress"}

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[.+-].*|(?:rc|post|dev)\d+.*)?\Z")
# llama.cpp counts its builds; between the two stands what it was built for, such as server-cuda-b10868.
_BUILD = re.compile(r"server-(?:[a-z0-9.]+-)?b(\d+)\Z")
_BEFORE_RELEASE = re.compile(r"[.-]?(?:rc|dev|nightly|alpha\d|beta\d)[.\d]*", re.IGNORECASE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def _digest(value: Any) -> str | None:
    if value == "" or (isinstance(value, str) and _DIGEST.match(value)):
        return None
    return "is not a digest"


_IMAGE_FIELDS = {
    "repository": Field(text, "registry and name, such as ghcr.io/berriai/litellm", required=True),
    "tag": Field(text, "a version in quotes, such as v1.108.10", required=True),
    "digest": Field(_digest, 'sha256: and 64 hex digits as the registry prints them, or "" for none'),
}
_OLLAMA_FIELDS = {
    **_IMAGE_FIELDS,
    "rocm_digest": Field(_digest, 'the digest of the same version for AMD (its tag ends in -rocm), or "" for none'),
}
_ROCM_SUFFIX = "-rocm"


def read_images(declared: Any, needed: Collection[str] = ()) -> tuple[dict[str, str], list[Problem]]:
    """Read ``llm_images``.

    Args:
        declared: what the user wrote.
        needed: those of ``OPTIONAL`` that something runs in.

    Returns:
        The full reference of each image (``repository:tag@digest``), Ollama's for AMD as ``ollama_rocm``; and every
        problem: an image that is missing, without a version, or below its security floor.
    """
    where = "llm_images"
    if isinstance(declared, Undefined):
        return {}, [declared.problem(where)]
    if not isinstance(declared, Mapping):
        required = ", ".join(name for name in FLOORS if name not in OPTIONAL)
        return {}, [Problem(where, f"is not a mapping but {kind_of(declared)}", f"Declare {required}")]
    references: dict[str, str] = {}
    problems: list[Problem] = []
    fields = {
        name: Field(lambda _value: None, "repository, tag and digest", required=name not in OPTIONAL or name in needed)
        for name in FLOORS
    }
    _, found = read(declared, where, fields)
    problems += found
    for name, floor in FLOORS.items():
        if name not in declared:
            continue
        path = f"{where}.{name}"
        values, found = read(declared[name], path, _OLLAMA_FIELDS if name == "ollama" else _IMAGE_FIELDS)
        problems += found
        if "repository" in values and "tag" in values:
            problems += _floor_problems(path, values["tag"], floor)
            references[name] = _reference(values["repository"], values["tag"], values.get("digest", ""))
            if name == "ollama":
                # The same version with AMD's library in the place of NVIDIA's (ollama/ollama, Dockerfile).
                tag = values["tag"].removesuffix(_ROCM_SUFFIX) + _ROCM_SUFFIX
                references["ollama_rocm"] = _reference(values["repository"], tag, values.get("rocm_digest", ""))
    return references, problems


def _reference(repository: str, tag: str, digest: str) -> str:
    return f"{repository}:{tag}" + (f"@{digest}" if digest else "")


def _floor_problems(path: str, tag: str, floor: str) -> list[Problem]:
    read_version: Callable[[str], tuple[int, ...] | None] = build_of if build_of(floor) else version_of
    version, oldest = read_version(tag), read_version(floor)
    if version is None or oldest is None:
        return [
            Problem(
                f"{path}.tag",
                f"{tag!r} does not name a version, so nobody can tell what runs",
                f"Pin one, {floor} or newer",
            )
        ]
    if version < oldest:
        return [Problem(f"{path}.tag", f"{tag} has known security holes", f"Use {floor} or newer")]
    return []


def build_of(tag: str) -> tuple[int, ...] | None:
    """Return the number of the build in a tag of llama.cpp (``server-b10868``), or None when it names none."""
    match = _BUILD.match(tag)
    return (int(match[1]),) if match else None


def version_of(tag: str) -> tuple[int, int, int, bool] | None:
    """Return the version in an image tag (``v1.108.10``, ``0.34.2-rocm``), or None when it names none.

    The last part tells a release from what came before it, such as ``v1.84.0-rc.1``, and sorts that first.
    """
    match = _VERSION.match(tag)
    if match is None:
        return None
    released = not _BEFORE_RELEASE.match(tag[match.end(3) :])
    return int(match[1]), int(match[2]), int(match[3]), released
