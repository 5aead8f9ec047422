#!/usr/bin/env python3
"""Asks a gateway with little CPU of its own and measures: `asker.py load|poll ORDERS`, the orders as JSON.

`load` keeps a number of questions in flight for some seconds; with two targets each worker asks them in turns, so that
whatever disturbs the machine disturbs both. `poll` asks at a steady pace until its standard input ends, and tells what
became of every question.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHAT = "/v1/chat/completions"
ANSWERED_BY = "x-litellm-model-id"
"""LiteLLM's response header with the `model_info.id` of the deployment that answered."""

PATIENCE_SECONDS = 60.0


class Unexpected(Exception):
    """An answer that does not belong into a measurement."""


@dataclass(frozen=True)
class Target:
    """Where to ask.

    Attributes:
        scheme: http or https.
        host: name or address in the URL.
        dial: address to connect to.
        port: TCP port.
        ca_file: certificate of the authority to trust, empty for the system's.
    """

    scheme: str
    host: str
    dial: str
    port: int
    ca_file: str = ""

    def context(self) -> ssl.SSLContext | None:
        """Settings of TLS, None without it. Raises OSError when the authority's certificate cannot be read."""
        return ssl.create_default_context(cafile=self.ca_file or None) if self.scheme == "https" else None


@dataclass(frozen=True)
class Answer:
    """Status, headers by their names in small letters, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """A connection that is kept from question to question."""

    def __init__(self, target: Target, key: str, model: str) -> None:
        self._target = target
        self._context = target.context()
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1}
        content = json.dumps(body).encode()
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._request = head.encode() + content
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> Answer:
        """Ask the question and read the whole answer. Raises OSError, EOFError, TimeoutError, ValueError."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._ask()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self) -> Answer:
        if self._streams is None:
            name = self._target.host if self._context else None
            self._streams = await asyncio.open_connection(
                self._target.dial, self._target.port, ssl=self._context, server_hostname=name
            )
        reader, writer = self._streams
        writer.write(self._request)
        answer = await read_answer(reader)
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer (RFC 9112, 6.3). Raises OSError, EOFError, ValueError when it is none or not whole."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if line)
    headers = {name.lower(): value.strip() for name, value in pairs}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "no length")))
    return Answer(int(status[len("HTTP/1.1 ") :][:3]), headers, body)


@dataclass
class Tally:
    """The answers of one target.

    Attributes:
        milliseconds: time of each answer that came within the time that counts.
        answers: number of all answers.
    """

    milliseconds: list[float] = field(default_factory=list)
    answers: int = 0

    def figures(self, seconds: float) -> dict[str, float]:
        """Answers a second, median and 95th percentile in milliseconds. Raises Unexpected without any answer."""
        if not self.milliseconds:
            raise Unexpected(f"no answer within {seconds:g} s")
        ordered = sorted(self.milliseconds)
        return {
            "per_second": len(ordered) / seconds,
            "median_ms": statistics.median(ordered),
            "p95_ms": ordered[math.ceil(len(ordered) * 0.95) - 1],
        }


async def load(
    targets: Sequence[Target], key: str, model: str, concurrency: int, warm_up: float, seconds: float
) -> dict[str, Any]:
    """Keep so many questions in flight; return the figures of each target and the CPU time of each program.

    Args:
        targets: asked in turns by each worker.
        key: the client's key.
        model: name of the model.
        concurrency: number of workers, each with a connection to each target.
        warm_up: seconds before those that count.
        seconds: seconds that count.

    Raises:
        Unexpected: an answer was not 200, or none came.
        OSError, EOFError, TimeoutError, ValueError: a connection broke.
    """
    tallies = [Tally() for _ in targets]

    async def work() -> None:
        connections = [Connection(target, key, model) for target in targets]
        while time.perf_counter() < end:
            for connection, tally in zip(connections, tallies, strict=True):
                asked = time.perf_counter()
                answer = await connection.ask()
                answered = time.perf_counter()
                if answer.status != 200:
                    raise Unexpected(f"status {answer.status}: {answer.body[:300].decode(errors='replace')}")
                tally.answers += 1
                if begin <= answered <= end:
                    tally.milliseconds.append((answered - asked) * 1000)
        for connection in connections:
            connection.close()

    # Reading it takes a while, so not while something is measured.
    before = cpu_seconds()
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    spent = grown(before, cpu_seconds())
    all_answers = sum(tally.answers for tally in tallies)
    return {
        "targets": [tally.figures(seconds) for tally in tallies],
        "cpu_ms": {name: cpu * 1000 / all_answers for name, cpu in spent.items()},
    }


def cpu_seconds(processes: Path = Path("/proc")) -> dict[tuple[int, str], float]:
    """Return the CPU time of every process that this one sees, in seconds, by its id and name (proc(5), stat)."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for folder in processes.glob("[0-9]*"):
        try:
            head, _, tail = (folder / "stat").read_text().rpartition(")")
        except OSError:
            # It has ended meanwhile.
            continue
        fields = tail.split()
        name = "load generator" if int(folder.name) == os.getpid() else head.partition("(")[2]
        found[int(folder.name), name] = (int(fields[11]) + int(fields[12])) / ticks
    return found


def grown(before: Mapping[tuple[int, str], float], after: Mapping[tuple[int, str], float]) -> dict[str, float]:
    """Return by how many seconds the CPU time of each name has grown, the largest first."""
    spent: defaultdict[str, float] = defaultdict(float)
    for (process, name), seconds in after.items():
        spent[name] += seconds - before.get((process, name), 0.0)
    ordered = sorted(spent.items(), key=lambda each: each[1], reverse=True)
    return {name: seconds for name, seconds in ordered if seconds > 0}


@dataclass(frozen=True)
class Poll:
    """What became of one question.

    Attributes:
        asked: seconds since 1970.
        answered: seconds since 1970.
        status: HTTP status, 0 without an answer.
        answered_by: which deployment answered, as LiteLLM calls it; empty for an error.
    """

    asked: float
    answered: float
    status: int
    answered_by: str


async def poll(target: Target, key: str, model: str, interval: float, stop: asyncio.Event) -> list[Poll]:
    """Ask every ``interval`` seconds, or as soon as the answer before is there, until told to stop."""
    connection = Connection(target, key, model)
    polls = []
    while not stop.is_set():
        begin = time.monotonic()
        asked = time.time()
        try:
            answer = await connection.ask()
            status, answered_by = answer.status, answer.headers.get(ANSWERED_BY, "")
        except (OSError, EOFError, ValueError):
            status, answered_by = 0, ""
        polls.append(Poll(asked, time.time(), status, answered_by if status == 200 else ""))
        rest = begin + interval - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
    connection.close()
    return polls


async def poll_until_input_ends(target: Target, key: str, model: str, interval: float) -> list[Poll]:
    """As `poll`, until standard input ends: also when whoever wanted to know is gone."""
    stop = asyncio.Event()
    polling = asyncio.create_task(poll(target, key, model, interval, stop))
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    return await polling


def main(what: str, text: str) -> None:
    """Carry out the orders and print the result as JSON."""
    orders = json.loads(text)
    # A file with a header, as the gateway keeps it for its administrator.
    key = Path(orders.pop("key_file")).read_text().split()[-1]
    targets = [Target(**target) for target in orders.pop("targets")]
    try:
        if what == "load":
            result: Any = asyncio.run(load(targets, key, **orders))
        else:
            result = [asdict(each) for each in asyncio.run(poll_until_input_ends(targets[0], key, **orders))]
    except ExceptionGroup as failures:
        sys.exit(f"{type(failures.exceptions[0]).__name__}: {failures.exceptions[0]}")
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
