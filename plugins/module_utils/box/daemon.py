"""What the gateway adds to Docker's daemon.json. What the user wrote there is never changed, only added to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/etc/docker/daemon.json"
# The drivers that know max-size and max-file; another one refuses them and the engine would not start
# (https://docs.docker.com/engine/logging/configure/).
_ROTATING_DRIVERS = ("json-file", "local")
_LOG_KEYS = ("log-driver", "log-opts")


class DaemonConfigError(Exception):
    """The file is not what Docker would read."""


def parse_daemon_json(text: str, path: str = PATH) -> dict[str, Any]:
    """The configuration in ``text``; an empty file is an empty configuration. Raises DaemonConfigError."""
    if not text.strip():
        return {}
    try:
        config = json.loads(text)
    except ValueError as error:
        raise DaemonConfigError(
            f"{path} is not valid JSON ({error}), so nothing can be added to it. Correct the file, or remove it."
        ) from error
    mappings = ("log-opts", "features")
    if not isinstance(config, dict) or not all(isinstance(config.get(key, {}), dict) for key in mappings):
        raise DaemonConfigError(
            f"{path} must hold one JSON object, and its keys {' and '.join(mappings)} others. "
            "Correct the file, or remove it."
        )
    return config


def log_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that concern logging; the others may be secret."""
    return {key: config[key] for key in _LOG_KEYS if key in config}


def with_log_rotation(config: Mapping[str, Any], max_size: str, max_file: int) -> dict[str, Any]:
    """The configuration with log rotation added where the user has not set it, else an equal one.

    ``max_size`` is in Docker's words (10m), ``max_file`` a number of files. A logging driver that cannot rotate by
    these options is the user's decision and stays alone.
    """
    merged = dict(config)
    if config.get("log-driver", "json-file") in _ROTATING_DRIVERS:
        merged.setdefault("log-driver", "json-file")
        # Docker takes the values of log-opts as strings only.
        merged["log-opts"] = {"max-size": max_size, "max-file": str(max_file), **config.get("log-opts", {})}
    return merged


def with_cdi(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with devices by CDI switched on; other features stay as they are.

    NVIDIA's own `nvidia-ctk runtime configure --cdi.enabled` drops them (pkg/config/engine/docker/docker.go).
    """
    return {**config, "features": {**config.get("features", {}), "cdi": True}}


def render_daemon_json(config: Mapping[str, Any]) -> str:
    """The text to write."""
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
