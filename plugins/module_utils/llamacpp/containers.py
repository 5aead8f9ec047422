"""The containers of llama.cpp: one server for each GGUF file, on the CPU or with the GPUs that were found."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from ..gpu.verdict import CPU, NVIDIA, ROCM, VULKAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PORT = 8080
# Which build of the published image uses the GPUs (llama.cpp docs/docker.md).
_VARIANTS = {NVIDIA: "cuda", ROCM: "rocm", VULKAN: "vulkan"}
# One that names a variant already is taken as it is.
_PLAIN = re.compile(r"(?P<name>.+):server-(?P<build>b\d+)(?P<digest>@.+)?\Z")
_MODELS = "/models"


def image_for(image: str, mode: str) -> str:
    """Return the image that uses the GPUs: of the same build, under another tag.

    Raises:
        ValueError: a digest is declared, and it is that of the image for the CPU.
    """
    plain = _PLAIN.match(image)
    if mode == CPU or plain is None:
        return image
    tag = f"server-{_VARIANTS[mode]}-{plain['build']}"
    if plain["digest"]:
        raise ValueError(
            "group_vars/all/images.yml: llm_images.llamacpp.digest: is that of the image for the CPU, and this box "
            f'uses {mode}. Write tag: {tag} with its own digest, or digest: ""'
        )
    return f"{plain['name']}:{tag}"


def llamacpp_containers(
    instances: Sequence[Mapping[str, Any]],
    image: str,
    gpu: Mapping[str, Any],
    uid: int,
    memory_limit: str,
    load_seconds: int,
) -> dict[str, dict[str, Any]]:
    """Return what is particular to each container, by its name on the network.

    Args:
        instances: each with ``host``, ``name``, ``path``, ``context``, ``parallel`` and ``embeddings``.
        image: the full reference of the image for the CPU.
        gpu: what the containers get of the box's GPUs, as ``gpu_container`` returns it.
        uid: number of the user and group that they run as.
        memory_limit: of each, as Compose writes sizes.
        load_seconds: how long one may take to load its model.

    Raises:
        ValueError: the image for these GPUs is not known.
    """
    if not instances:
        return {}
    common = {
        "image": image_for(image, str(gpu["mode"])),
        "user": f"{uid}:{uid}",
        "environment": {
            # Drivers of GPUs keep compiled programs there.
            "HOME": "/tmp",  # noqa: S108 -- the container's own
            # Keeps a box whose default runtime is NVIDIA's from handing out its graphics card unasked.
            "NVIDIA_VISIBLE_DEVICES": "void",
            **gpu["environment"],
        },
        "tmpfs": ["/tmp"],  # noqa: S108 -- the container's own
        "mem_limit": memory_limit,
        "pids_limit": 512,
        "stop_grace_period": "30s",
        "healthcheck": {
            # The server's own, which asks no model; it fails while the model is loaded. The image has curl for it.
            "test": ["CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{PORT}/health"],
            "interval": "5s",
            "timeout": "5s",
            "retries": 6,
            "start_period": f"{load_seconds}s",
        },
        **gpu["options"],
    }
    return {instance["host"]: {**common, **_particular(instance)} for instance in instances}


def _particular(instance: Mapping[str, Any]) -> dict[str, Any]:
    path = str(instance["path"])
    inside = f"{_MODELS}/{posixpath.basename(path)}"
    return {
        "volumes": [f"{path}:{inside}:ro,z"],
        "command": [
            *("--host", "0.0.0.0", "--port", str(PORT)),  # noqa: S104 -- inside its container, and not published
            *("--offline", "--model", inside, "--alias", str(instance["name"])),
            # The server shares this out among the answers it gives at the same time.
            *("--ctx-size", str(int(instance["context"]) * int(instance["parallel"]))),
            *("--parallel", str(instance["parallel"])),
            *(("--embeddings",) if instance["embeddings"] else ()),
        ],
    }
