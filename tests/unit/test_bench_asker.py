"""What the bench runs on the box counts right: load generator, poller, and the upstream with constant answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pytest

from scripts.benchmark.in_box import asker, upstream
from scripts.benchmark.in_box.asker import Connection, Target, Unexpected

KEY = "key-that-is-right"
T = TypeVar("T")
Reply = Callable[[int], bytes]


def target(server: asyncio.Server) -> Target:
    return Target("http", "gateway.test", "127.0.0.1", server.sockets[0].getsockname()[1])


def with_upstream(act: Callable[[Target], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        async with await upstream.serve(0, "127.0.0.1") as server:
            return await act(target(server))

    return asyncio.run(main())


def with_server(reply: Reply, act: Callable[[Target, list[str]], Coroutine[Any, Any, T]]) -> T:
    """Run with a server that answers its first, second... request with what ``reply`` returns."""

    async def main() -> T:
        seen: list[str] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                seen.append((head + await reader.readexactly(length)).decode())
                if not (answer := reply(len(seen))):
                    break
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            return await act(target(server), seen)

    return asyncio.run(main())


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Word", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def test_the_upstream_answers_again_and_again_on_one_connection() -> None:
    async def act(there: Target) -> list[asker.Answer]:
        connection = Connection(there, KEY, "any")
        return [await connection.ask() for _ in range(3)]

    answers = with_upstream(act)
    assert [found.status for found in answers] == [200, 200, 200]
    assert json.loads(answers[2].body)["choices"][0]["message"]["content"] == "The answer is 42."


def test_the_upstream_waits_for_the_whole_request() -> None:
    async def act(there: Target) -> tuple[bool, bytes]:
        reader, writer = await asyncio.open_connection(there.dial, there.port)
        writer.write(b"POST / HTTP/1.1\r\ncontent-LENGTH: 4\r\n\r\nab")
        reading = asyncio.create_task(reader.readuntil(b"}"))
        too_early = bool((await asyncio.wait([reading], timeout=0.05))[0])
        # The rest, and two more requests at once.
        writer.write(b"cd" + 2 * b"GET / HTTP/1.1\r\n\r\n")
        await reading
        rest = await reader.readexactly(2 * len(upstream.RESPONSE))
        return too_early, rest

    too_early, rest = with_upstream(act)
    assert not too_early
    assert rest.count(b"HTTP/1.1 200 OK") == 2


def test_a_question_carries_model_and_key_and_names_the_host() -> None:
    async def act(there: Target, seen: list[str]) -> str:
        await Connection(there, KEY, "fast").ask()
        return seen[0]

    request = with_server(lambda _: answer(), act)
    head, _, body = request.partition("\r\n\r\n")
    assert head.startswith("POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.test:")
    assert f"Authorization: Bearer {KEY}" in head
    assert json.loads(body)["model"] == "fast"


def test_an_answer_in_chunks_is_read_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async def act(there: Target, _: list[str]) -> tuple[bytes, bytes]:
        connection = Connection(there, KEY, "fast")
        return (await connection.ask()).body, (await connection.ask()).body

    assert with_server(lambda number: chunked if number == 1 else answer(), act) == (b"abcde", b"{}")


def test_load_counts_every_answer_of_each_target() -> None:
    asked = 0

    def reply(number: int) -> bytes:
        nonlocal asked
        asked = number
        return answer()

    async def act(there: Target, _: list[str]) -> dict[str, Any]:
        return await asker.load([there, there], KEY, "fast", concurrency=3, warm_up=0.0, seconds=0.2)

    one, two = with_server(reply, act)["targets"]
    counted = round(one["per_second"] * 0.2) + round(two["per_second"] * 0.2)
    # What each worker still has in flight at the end does not count.
    assert asked - 2 * 3 <= counted <= asked
    # Each worker asks them in turns.
    assert abs(one["per_second"] - two["per_second"]) * 0.2 <= 3.001
    assert 0 < one["median_ms"] <= one["p95_ms"] < 200


def test_load_keeps_so_many_questions_in_flight() -> None:
    async def main() -> int:
        waiting, most = 0, 0

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal waiting, most
            while True:
                try:
                    await reader.readuntil(b"}]")
                except asyncio.IncompleteReadError:
                    break
                waiting += 1
                most = max(most, waiting)
                await asyncio.sleep(0.02)
                waiting -= 1
                writer.write(answer())
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            found = await asker.load([target(server)], KEY, "fast", concurrency=5, warm_up=0.05, seconds=0.2)
        assert found["targets"][0]["median_ms"] >= 20
        return most

    assert asyncio.run(main()) == 5


def test_answers_before_the_time_that_counts_are_left_out() -> None:
    times: list[float] = []

    async def act(there: Target, _: list[str]) -> dict[str, Any]:
        return await asker.load([there], KEY, "fast", concurrency=1, warm_up=0.6, seconds=0.2)

    def reply(number: int) -> bytes:
        times.append(number)
        return answer()

    (figures,) = with_server(reply, act)["targets"]
    assert figures["per_second"] * 0.2 < len(times) * 0.8


@pytest.mark.parametrize("bad", [answer(503, b"no replica"), answer(429, b"slower")])
def test_load_with_errors_is_no_measurement(bad: bytes) -> None:
    async def act(there: Target, _: list[str]) -> None:
        await asker.load([there], KEY, "fast", concurrency=2, warm_up=0.0, seconds=0.1)

    with pytest.raises(ExceptionGroup) as failures:
        with_server(lambda number: bad if number == 5 else answer(), act)
    (failure,) = failures.value.exceptions
    assert isinstance(failure, Unexpected)
    assert bad.split()[1].decode() in str(failure)


def test_load_without_answers_is_no_measurement() -> None:
    with pytest.raises(Unexpected, match="no answer within 3 s"):
        asker.Tally().figures(3)


def test_figures() -> None:
    found = asker.Tally([float(number) for number in range(100, 0, -1)]).figures(4)
    assert found == {"per_second": 25.0, "median_ms": 50.5, "p95_ms": 95.0}


def test_poll_tells_who_answered_and_goes_on_after_failures() -> None:
    def by(deployment: str) -> bytes:
        return answer(200, b"{}", f"X-LiteLLM-Model-Id: {deployment}")

    # The connection breaks, then the model is unknown, then two models one after the other answer.
    replies = {1: b"", 2: answer(400, b"unknown", "x-litellm-model-id: wrong"), 3: by("fast/old"), 4: by("fast/new")}

    async def act(there: Target, seen: list[str]) -> list[asker.Poll]:
        stop = asyncio.Event()
        polling = asyncio.create_task(asker.poll(there, KEY, "fast", 0.01, stop))
        while len(seen) < 4:
            await asyncio.sleep(0.005)
        stop.set()
        return await polling

    polls = with_server(lambda number: replies.get(number, by("fast/new")), act)
    assert [(poll.status, poll.answered_by) for poll in polls[:4]] == [
        (0, ""),
        (400, ""),
        (200, "fast/old"),
        (200, "fast/new"),
    ]
    assert all(poll.asked <= poll.answered for poll in polls)
    assert all(later.asked - earlier.asked >= 0.009 for earlier, later in itertools.pairwise(polls))


def as_on_the_box(tmp_path: Path, what: str, **orders: Any) -> subprocess.CompletedProcess[str]:
    """Run the program where nobody listens, with a standard input that is at its end."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        there = Target("http", "gateway.test", "127.0.0.1", nobody.getsockname()[1])
        (tmp_path / "header").write_text(f"Authorization: Bearer {KEY}\n")
        orders |= {"targets": [asdict(there)], "key_file": str(tmp_path / "header"), "model": "fast"}
        command = [sys.executable, asker.__file__, what, json.dumps(orders)]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_the_program_says_why_there_is_no_measurement(tmp_path: Path) -> None:
    done = as_on_the_box(tmp_path, "load", concurrency=2, warm_up=0.0, seconds=0.1)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("ConnectionRefusedError: ")


def test_the_program_polls_until_its_input_ends(tmp_path: Path) -> None:
    done = as_on_the_box(tmp_path, "poll", interval=0.01)
    assert done.returncode == 0, done.stderr
    assert {(poll["status"], poll["answered_by"]) for poll in json.loads(done.stdout)} == {(0, "")}


def test_cpu_time_of_this_process_grows() -> None:
    before = asker.cpu_seconds()
    own = (os.getpid(), "load generator")
    while asker.cpu_seconds()[own] - before[own] < 0.02:
        pass
    assert asker.grown(before, asker.cpu_seconds())["load generator"] >= 0.02


def test_cpu_time_is_read_and_added_up_by_name(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")

    def process(number: int, name: str, user: int, system: int) -> None:
        (tmp_path / str(number)).mkdir(exist_ok=True)
        fields = " ".join(["S", *"1234567890", str(user * ticks), str(system * ticks), "0", "0"])
        (tmp_path / str(number) / "stat").write_text(f"{number} ({name}) {fields}\n")

    process(10, "litellm", 5, 1)
    process(11, "a (odd) name", 1, 0)
    before = asker.cpu_seconds(tmp_path)
    process(10, "litellm", 7, 2)
    process(12, "litellm", 1, 0)
    assert asker.grown(before, asker.cpu_seconds(tmp_path)) == {"litellm": 4.0}
    assert (11, "a (odd) name") in before
