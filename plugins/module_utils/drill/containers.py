"""The drill's two containers, made after the replica that runs: same image, same hooks, same settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .plan import BACKEND_HOST, CONTROL_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

REPLICA = "drill"
# What a replica of the drill shares with those of the gateway.
_SHARED = (
    "image",
    "user",
    "entrypoint",
    "environment",
    "tmpfs",
    "mem_limit",
    "pids_limit",
    "stop_grace_period",
    "healthcheck",
)
_HEALTHY = """\
import socket
with socket.create_connection(("127.0.0.1", {port}), 4) as connection:
    connection.sendall(b"GET /ready HTTP/1.0\\r\\n\\r\\n")
    raise SystemExit(b" 200 " not in connection.recv(64))
"""


def drill_containers(compose: Mapping[str, Any], config_dir: str, providers: Mapping[str, int]) -> dict[str, Any]:
    """Return what is particular to the drill's containers, by their names on the network.

    Args:
        compose: the Compose file of the running LiteLLM, parsed.
        config_dir: folder on the box with the files that its replicas read: start script and hooks.
        providers: TCP port of the stand-in for each provider.

    Raises:
        ValueError: the Compose file holds no replica.
    """
    replicas = compose.get("services") or {}
    if not replicas:
        raise ValueError("the Compose file of LiteLLM has no replica: run make apply first")
    running = next(iter(replicas.values()))
    replica = {name: running[name] for name in _SHARED if name in running}
    replica["volumes"] = [
        f"{config_dir}:/etc/litellm:ro,z",
        # Over the gateway's own configuration, so that the drill runs with the very files of the gateway otherwise.
        "./config/config.yaml:/etc/litellm/config.yaml:ro,z",
        "./secrets:/run/litellm-secrets:ro,z",
    ]
    command = [f"{name}={port}" for name, port in providers.items()]
    backend = {
        "image": running["image"],
        "user": running["user"],
        "entrypoint": ["python3", "-I", "/etc/drill/backend.py", "--control", str(CONTROL_PORT), *command],
        "environment": {"PYTHONDONTWRITEBYTECODE": "1"},
        "volumes": ["./backend:/etc/drill:ro,z"],
        "mem_limit": "256m",
        "pids_limit": 512,
        "stop_grace_period": "5s",
        "healthcheck": {
            "test": ["CMD", "python3", "-IS", "-c", _HEALTHY.format(port=CONTROL_PORT)],
            "interval": "2s",
            "timeout": "5s",
            "retries": 6,
            "start_period": "60s",
        },
    }
    return {BACKEND_HOST: backend, REPLICA: replica}
