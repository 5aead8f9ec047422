"""A replica that leaves answers who is through the door, refuses who comes later, and says goodbye in last answers."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load it with a stand-in for uvicorn, which is in LiteLLM's image alone."""
    server = ModuleType("uvicorn.server")
    server.Server = type("Server", (), {"shutdown": None})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvicorn", ModuleType("uvicorn"))
    monkeypatch.setitem(sys.modules, "uvicorn.server", server)
    monkeypatch.delitem(sys.modules, "gateway.leaving", raising=False)
    return importlib.import_module("gateway.leaving")


def test_who_waits_at_the_port_is_let_in_and_who_comes_later_is_refused(leaving: ModuleType) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    early = [socket.create_connection(address, 1) for _ in range(3)]
    early[1].sendall(b"question")
    accepted = leaving.who_waits(listener)
    assert len(accepted) == 3
    assert accepted[1].recv(64) == b"question"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 1)
    for connection in [*early, *accepted]:
        connection.close()


def test_answers_that_begin_later_are_the_last_of_their_connection(leaving: ModuleType) -> None:
    class Cycle:
        sent: tuple[dict[str, Any], ...] = ()

        async def send(self, message: dict[str, Any]) -> None:
            self.sent += (message,)

    leaving.say_goodbye_in(Cycle)
    begun, later = Cycle(), Cycle()
    asyncio.run(begun.send({"type": "http.response.body"}))
    asyncio.run(later.send({"type": "http.response.start", "headers": [(b"a", b"b")]}))
    assert begun.sent == ({"type": "http.response.body"},)
    assert later.sent[0]["headers"] == [(b"a", b"b"), (b"connection", b"close")]


@pytest.mark.parametrize(("started", "headers"), [(False, [(b"connection", b"close")]), (True, [])])
def test_an_answer_that_has_begun_keeps_its_connection(
    leaving: ModuleType, started: bool, headers: list[tuple[bytes, bytes]]
) -> None:
    cycle = SimpleNamespace(response_started=started, scope={"headers": []})
    leaving.say_goodbye_on(SimpleNamespace(cycle=cycle))
    assert cycle.scope["headers"] == headers
    leaving.say_goodbye_on(SimpleNamespace(cycle=None))
