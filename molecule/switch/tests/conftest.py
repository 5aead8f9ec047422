"""What the tests of this scenario share: the gateway as declared by now, eight clients, and figures to publish."""

from __future__ import annotations

from collections.abc import Iterator

import on_boxes
import pytest
from as_clients import key_of
from load import LONG, SHORT, STREAM
from testinfra.host import Host
from under_load import Gateway, Load

ADDRESS = {
    "scheme": "https",
    "host": "localhost",
    "dial": "127.0.0.1",
    "port": 4000,
    "ca_file": on_boxes.CA_FILE,
}
ASKED = {
    "short-1": (SHORT, "steady"),
    "short-2": (SHORT, "switching"),
    "short-3": (SHORT, "local"),
    "stream-1": (STREAM, "steady"),
    "stream-2": (STREAM, "switching"),
    "stream-3": (STREAM, "switching"),
    "long-1": (LONG, "steady"),
    "long-2": (LONG, "switching"),
}


@pytest.fixture(scope="session")
def gateway() -> Gateway:
    """Return the gateway, which each test leaves as the next one finds it."""
    return Gateway()


@pytest.fixture(scope="module")
def clients(host: Host, gateway: Gateway) -> Iterator[Load]:
    """Return the clients for the gateway as it is now, not started yet."""
    switching = gateway.variables.get("switch_backend", "model-a")
    answered_by = {"steady": "model-steady", "switching": switching, "local": "smollm2:135m"}
    planned = {
        name: {
            "kind": kind,
            "key": key_of(name),
            "model": model,
            "answered_by": [answered_by[model]],
            # The Ollama stand-in has a pace of its own.
            "paced": model != "local",
        }
        for name, (kind, model) in ASKED.items()
    }
    if "switch_client_keys" in gateway.variables:
        planned["short-1"]["key"] = key_of("short-1-next")
    made = Load(host, ADDRESS, planned)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def figures() -> Iterator[list[str]]:
    """Collect lines of Markdown; in the end they are printed and kept in a file."""
    lines: list[str] = []
    yield lines
    page = "\n".join(lines)
    (on_boxes.BED / "logs" / "switch.md").write_text(f"{page}\n")
    print(f"\n{page}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything on published images, which have no version that differs in nothing and none that is broken."""
    if on_boxes.upstream():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs the bed's own images"))
