"""What an Ollama that runs on the box tells of the models it holds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..ollama.api import Client
from .parallel import run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .docker import Runner

_PORT = 11434
_ADDRESSES = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"


def read_shapes(run: Runner, container: str, names: Sequence[str], timeout_s: float) -> dict[str, dict[str, Any]]:
    """Return what decides how much memory a token takes, by model, of those that the container's Ollama holds.

    What it does not tell within ``timeout_s`` seconds is left out, and estimated from the size instead.
    """
    inspected = run(["docker", "container", "inspect", "--format", _ADDRESSES, container])
    addresses = inspected.out.split() if inspected.code == 0 else []
    if not addresses or not names:
        return {}
    client = Client(f"http://{addresses[0]}:{_PORT}")
    outcomes = run_all({name: partial(client.show, name) for name in names}, timeout_s)
    return {
        name: outcome.value.shape._asdict()
        for name, outcome in outcomes.items()
        if outcome.value is not None and outcome.value.shape is not None
    }
