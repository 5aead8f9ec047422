#!/usr/bin/env python3
"""A model that costs next to no CPU: `upstream.py PORT` gives every request the same short chat answer at once."""

from __future__ import annotations

import asyncio
import json
import re
import sys

ANSWER = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "constant",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "The answer is 42."}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
BODY = json.dumps(ANSWER).encode()
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Upstream(asyncio.Protocol):
    """One connection, which stays open for further requests."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while (end := self._received.find(HEAD_END)) >= 0:
            head = self._received[: end + len(HEAD_END)]
            found = LENGTH.search(head)
            size = len(head) + (int(found[1]) if found else 0)
            if len(self._received) < size or self._transport is None:
                return
            self._received = self._received[size:]
            self._transport.write(RESPONSE)


async def serve(port: int, host: str = "0.0.0.0") -> asyncio.Server:  # noqa: S104 -- containers of the box ask it
    """Listen on a TCP port, 0 for a free one. Raises OSError."""
    return await asyncio.get_running_loop().create_server(Upstream, host, port)


async def main(port: int) -> None:
    """Serve until the process is ended. Raises OSError."""
    async with await serve(port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
