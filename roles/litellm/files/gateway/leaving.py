"""How a replica that is told to stop leaves: everything that has reached it is answered.

uvicorn closes its port and its idle connections at once. A question that had just arrived there, unread, would be lost:
the ingress cannot know whether it was answered, so it does not ask again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from uvicorn.server import Server

_LOOK_SECONDS = 0.05
_GOODBYE = (b"connection", b"close")
# LiteLLM's own setting of the same meaning; the container is killed some seconds after it.
_MOST_SECONDS = float(os.environ.get("GRACEFUL_SHUTDOWN_TIMEOUT", "30"))


def who_waits(listener: socket.socket) -> list[socket.socket]:
    """Accept every connection that waits at a port, and close the port with nothing between the two."""
    listener.setblocking(False)
    waiting = []
    with listener:
        while True:
            try:
                waiting.append(listener.accept()[0])
            except BlockingIOError:
                return waiting


def say_goodbye_in(cycle_class: Any) -> None:
    """Let each answer that begins from now on be the last one of its connection, and say so in its header."""
    send = cycle_class.send

    async def last_answer(cycle: Any, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), _GOODBYE]}
        await send(cycle, message)

    cycle_class.send = last_answer


def say_goodbye_on(connection: Any) -> None:
    """Do the same for the answer that a connection waits for: uvicorn says it where the question has said it.

    One that has begun cannot say so any more. Its connection stays open, as closing it unannounced could hit the next
    question.
    """
    cycle = getattr(connection, "cycle", None)
    if cycle is not None and not cycle.response_started:
        cycle.scope["headers"].append(_GOODBYE)


_shut_down = Server.shutdown


async def _leave(self: Server, sockets: list[socket.socket] | None = None) -> None:
    """Stand before uvicorn's own end: refuse what is new, answer what is there, wait until every connection is gone.

    The parts of uvicorn that this uses are its own; a scenario holds it to the pinned version.
    """
    protocol = self.config.http_protocol_class
    say_goodbye_in(sys.modules[protocol.__module__].RequestResponseCycle)
    for connection in list(self.server_state.connections):
        say_goodbye_on(connection)
    for server in self.servers:
        listeners = [socket.socket(fileno=os.dup(listener.fileno())) for listener in server.sockets]
        server.close()
        for accepted in [connection for listener in listeners for connection in who_waits(listener)]:
            await asyncio.get_running_loop().connect_accepted_socket(_protocol_of(self), accepted)
    # The ingress lets go of an idle connection after a second, so this ends soon after the last answer.
    deadline = time.monotonic() + _MOST_SECONDS
    while self.server_state.connections and time.monotonic() < deadline and not self.force_exit:
        await asyncio.sleep(_LOOK_SECONDS)
    await _shut_down(self, sockets)


def _protocol_of(server: Server) -> Callable[[], Any]:
    """Return what makes the protocol of one connection, as uvicorn's own start does."""
    config = server.config
    return lambda: config.http_protocol_class(
        config=config, server_state=server.server_state, app_state=server.lifespan.state
    )


Server.shutdown = _leave
