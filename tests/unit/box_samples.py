"""Facts of boxes for the tests: recorded systems, and a Docker that can be varied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugins.module_utils.box.system import parse_os_release

if TYPE_CHECKING:
    from plugins.module_utils.box.shapes import BoxFacts, DockerFacts, ModelFacts, OsFacts, PortFacts, PortHolder

GIB = 1024**3
RECORDED = Path(__file__).parent / "recorded" / "box"


def recorded(name: str) -> dict[str, Any]:
    """What is recorded of a system."""
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return content


def os_of(name: str) -> OsFacts:
    """The operating system of a recorded box."""
    content = recorded(name)
    return parse_os_release(content["os_release"], content["machine"], content.get("kernel", "6.1.0-40-amd64"))


def docker(**changes: Any) -> DockerFacts:
    """A Docker with which nothing is wrong, changed where asked."""
    facts: dict[str, Any] = {
        "client": True,
        "engine": True,
        "kind": "docker",
        "edition": "distribution",
        "running": True,
        "engine_version": "26.1.5+dfsg1",
        "compose_version": "2.26.1-4",
        "error": "",
        "service": {"state": "active", "enabled": True, "log_flags": False},
        "daemon_config": {
            "error": "",
            "log": {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}},
        },
        "network_exists": True,
        "images_missing": [],
    }
    facts.update(changes)
    return facts  # type: ignore[return-value]


def no_docker() -> DockerFacts:
    """A box without Docker."""
    return docker(
        client=False,
        engine=False,
        kind="none",
        edition="",
        running=False,
        engine_version="",
        compose_version="",
        service={"state": "missing", "enabled": False, "log_flags": False},
        daemon_config={"error": "", "log": {}},
        network_exists=None,
        images_missing=None,
    )


def stopped_docker(state: str = "inactive", **changes: Any) -> DockerFacts:
    """Docker installed, its engine not answering."""
    return docker(
        running=False,
        engine_version="",
        error="Cannot connect to the Docker daemon.",
        service={"state": state, "enabled": False, "log_flags": False},
        network_exists=None,
        images_missing=None,
        **changes,
    )


def box(system: str = "debian-13", **changes: Any) -> BoxFacts:
    """A box on which nothing stands in the way, changed where asked."""
    facts: dict[str, Any] = {
        "os": os_of(system),
        "memory_bytes": 16 * GIB,
        "systemd": True,
        "curl": True,
        "docker": docker(),
        "docker_repository": None,
        "rpms_in_the_way": [],
        "ports": [],
        "uids": [],
        "files": [],
        "models": models([], free=100 * GIB),
        "gpu": None,
        "shapes": {},
    }
    facts.update(changes)
    return facts  # type: ignore[return-value]


def models(items: list[ModelFacts], free: int) -> dict[str, Any]:
    """Declared models on a disk with ``free`` bytes free."""
    path = "/var/lib/llm-gateway/ollama"
    return {
        "directory": {"path": path, "free_bytes": free},
        "missing_bytes": sum(item["missing_bytes"] for item in items),
        "items": items,
    }


def model(name: str, size: int = 0, missing: int | None = None, state: str = "known", detail: str = "") -> ModelFacts:
    """One declared model; without ``missing`` nothing of it is on the disk yet."""
    return {
        "name": name,
        "state": state,
        "bytes": size,
        "missing_bytes": size if missing is None else missing,
        "detail": detail,
    }


def port(state: str = "taken", detail: str = "", holders: list[PortHolder] | None = None) -> PortFacts:
    """The gateway's port in a state."""
    return {"address": "127.0.0.1", "port": 4000, "state": state, "detail": detail, "holders": holders or []}


def holder(**changes: Any) -> PortHolder:
    """Somebody who listens on the gateway's port."""
    facts: dict[str, Any] = {"address": "0.0.0.0", "pid": 812, "process": "nginx", "container": "", "project": ""}
    facts.update(changes)
    return facts  # type: ignore[return-value]
