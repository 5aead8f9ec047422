#!/usr/bin/env python3
"""Clients that ask a gateway all the time, each with its own key and model, and what became of every question.

`load.py FOLDER` runs until it is told to stop. It needs Python alone, so a test can copy it to a box and run it there.
FOLDER/orders.json says whom to ask for what; it is read anew before each question, so replace it in one step (`mv`).
FOLDER/results.jsonl gets a line for each question. The answers are those of the stand-ins in `tests/doubles`.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import select
import socket
import ssl
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CHAT = "/v1/chat/completions"
PATIENCE_SECONDS = 60.0
"""How long a client waits for a connection, and for each further byte."""

THINK_SECONDS = 0.5
"""Between two questions: the machine has other tests to run as well."""

PAUSE_SECONDS = 0.2
"""After a failure; without it a gateway that is away would be asked thousands of times."""

OK, FAILED, CUT, WRONG = OUTCOMES = ("ok", "failed", "cut", "wrong")
SHORT, STREAM, LONG = KINDS = ("short", "stream", "long")
PACES_MS = {SHORT: 10, STREAM: 100, LONG: 100}
ANSWER = re.compile(
    r"This is (?P<model>\S+) speaking through the (?P<who>provider|Ollama) stand-in\. You wrote: (?P<rest>.*)"
)
WORDS_BEFORE_QUESTION = 10


@dataclass(frozen=True)
class Question:
    """What a client writes.

    Attributes:
        kind: `short` and `long` are answered in one piece, `stream` word by word.
        text: no two questions are alike, so another question's answer is noticed.
        words: length of the answer that the provider stand-in gives.
    """

    kind: str
    text: str
    words: int

    @classmethod
    def number(cls, number: int, client: str, kind: str) -> Question:
        """The question of this number: about 0.2 s for a short one, 5 s for a stream, 3 to 5 s for a long one."""
        words = {SHORT: 20, STREAM: 50, LONG: 30 + 7 * number % 21}[kind]
        return cls(kind, f"Question {number} of {client}: {words} words, one every {PACES_MS[kind]} ms.", words)

    @property
    def seconds(self) -> float:
        """Time that the model itself takes for the whole answer."""
        return self.words * PACES_MS[self.kind] / 1000

    def answered_by(self, text: str) -> str:
        """The model that gave this answer. Raises ValueError when it is not the whole answer to this question."""
        found = ANSWER.fullmatch(text)
        said = WORDS_BEFORE_QUESTION + len(self.text.split())
        # Only the provider stand-in fills the answer up.
        numbers = "".join(f" {number}" for number in range(said + 1, self.words + 1))
        if found is None or found["rest"] != self.text + (numbers if found["who"] == "provider" else ""):
            raise ValueError(f"asked {self.text!r}, got {text[:200]!r}")
        return found["model"]


@dataclass
class Result:
    """What became of a question.

    Attributes:
        client: who asked.
        kind: see `Question`.
        phase: what the test called the time at which it was asked.
        model: the name asked for.
        started: seconds since 1970.
        seconds: until the end of the answer or of the attempt.
        wait: seconds of waiting that the model is not to blame for: until the first word of a stream, and what an
            answer in one piece took longer than the model needs.
        gap: longest time between two words of a stream.
        chunks: words of a stream that came.
        status: HTTP status, 0 when there was none.
        outcome: `failed` without an answer, `cut` when it began and did not end, `wrong` when it is not the right one.
        problem: why it is not `ok`.
        answered_by: the provider's name of the model that answered.
    """

    client: str
    kind: str
    phase: str
    model: str
    started: float
    seconds: float = 0.0
    wait: float = 0.0
    gap: float = 0.0
    chunks: int = 0
    status: int = 0
    outcome: str = FAILED
    problem: str = ""
    answered_by: str = ""


class WrongAnswer(Exception):
    """An answer that is complete and not the right one."""


class NoAnswer(Exception):
    """An error in place of the answer, or in the middle of it."""


class Connection(http.client.HTTPConnection):
    """A connection to the address that the orders give, under the name in the URL."""

    def __init__(self, address: Mapping[str, Any]) -> None:
        super().__init__(address["host"], address["port"], timeout=PATIENCE_SECONDS)
        self.address = dict(address)
        self._context = None
        if address["scheme"] == "https":
            self._context = ssl.create_default_context(cafile=address["ca_file"] or None)

    def connect(self) -> None:
        """Dial; with TLS the certificate has to be right for the name. Raises OSError."""
        dialled = socket.create_connection((self.address["dial"], self.address["port"]), timeout=self.timeout)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # An address is no name that TLS could announce, but it is checked all the same.
        self.sock = self._context.wrap_socket(dialled, server_hostname=self.host) if self._context else dialled

    def was_closed(self) -> bool:
        """Whether the gateway has closed it meanwhile, as every HTTP library looks before it asks again."""
        return self.sock is None or bool(select.select([self.sock], [], [], 0)[0])


class Client:
    """One client: it asks, reads and checks the answer, and asks again."""

    def __init__(self, name: str, keeps_connection: bool) -> None:
        self.name = name
        self._keeps_connection = keeps_connection
        self._connection: Connection | None = None
        self._asked = 0

    def ask(self, orders: Mapping[str, Any]) -> Result:
        """Ask one question as the orders say."""
        mine = orders["clients"][self.name]
        self._asked += 1
        question = Question.number(self._asked, self.name, mine["kind"])
        result = Result(self.name, question.kind, orders["phase"], mine["model"], time.time())
        begin = time.monotonic()
        try:
            self._ask(orders["address"], mine, question, result)
            result.outcome = OK
        except WrongAnswer as problem:
            result.outcome, result.problem = WRONG, str(problem)
        except (OSError, http.client.HTTPException, NoAnswer) as problem:
            result.outcome = CUT if result.status == 200 else FAILED
            result.problem = f"{type(problem).__name__}: {problem}".replace(mine["key"], "its key")
        result.seconds = time.monotonic() - begin
        if not result.chunks:
            own_time = question.seconds if mine["paced"] and result.outcome == OK else 0.0
            result.wait = max(0.0, result.seconds - own_time)
        if result.outcome != OK or not self._keeps_connection:
            self.close()
        return result

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, address: Mapping[str, Any], mine: Mapping[str, Any], question: Question, result: Result) -> None:
        begin = time.monotonic()
        body = {"model": mine["model"], "messages": [{"role": "user", "content": question.text}]}
        body |= {"stream": True} if question.kind == STREAM else {}
        headers = {"Authorization": f"Bearer {mine['key']}", "Content-Type": "application/json"}
        connection = self._connected(address)
        connection.request("POST", CHAT, json.dumps(body), headers)
        response = connection.getresponse()
        result.status = response.status
        if response.status != 200:
            raise NoAnswer(f"status {response.status}: {response.read()[:300].decode(errors='replace')}")
        text = self._streamed(response, result, begin) if question.kind == STREAM else self._whole(response)
        try:
            result.answered_by = question.answered_by(text)
        except ValueError as problem:
            raise WrongAnswer(str(problem)) from None
        if question.kind == STREAM and mine["paced"] and result.chunks != question.words:
            raise WrongAnswer(f"{question.words} words came in {result.chunks} pieces")
        if result.answered_by not in mine["answered_by"]:
            expected = " or ".join(mine["answered_by"])
            raise WrongAnswer(f"{mine['model']} was answered by {result.answered_by}, not {expected}")

    def _connected(self, address: Mapping[str, Any]) -> Connection:
        kept = self._connection
        if kept is None or kept.address != address or kept.was_closed():
            self.close()
            self._connection = kept = Connection(address)
        return kept

    @staticmethod
    def _whole(response: http.client.HTTPResponse) -> str:
        content = response.read()
        try:
            choice = json.loads(content)["choices"][0]
            if choice["finish_reason"] == "stop":
                return str(choice["message"]["content"])
        except (ValueError, LookupError, TypeError):
            pass
        raise WrongAnswer(f"this is no whole answer: {content[:200].decode(errors='replace')}")

    @staticmethod
    def _streamed(response: http.client.HTTPResponse, result: Result, begin: float) -> str:
        text, finish, last = "", None, None
        for data in events(response):
            if data.get("error"):
                raise NoAnswer(f"the stream ends with an error: {json.dumps(data['error'])[:300]}")
            for choice in data.get("choices", []):
                finish = choice.get("finish_reason") or finish
                if word := choice["delta"].get("content"):
                    now = time.monotonic()
                    if last is None:
                        result.wait = now - begin
                    else:
                        result.gap = max(result.gap, now - last)
                    last = now
                    text += word
                    result.chunks += 1
        if finish != "stop":
            raise WrongAnswer(f"the stream ends with {finish!r}: {text[:200]!r}")
        return text


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream up to its `[DONE]`. Raises NoAnswer, OSError, HTTPException if it ends before."""
    while line := response.readline():
        data = line.removeprefix(b"data: ").strip()
        if not line.startswith(b"data: "):
            continue
        if data == b"[DONE]":
            # The end of the HTTP answer is part of it: libraries read up to there.
            response.read()
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise NoAnswer(
                f"the stream ends in the middle of an event: {data[:100].decode(errors='replace')}"
            ) from None
        yield event
    raise NoAnswer("the stream ends without [DONE]")


def run(folder: Path) -> None:
    """Let every client of the orders ask until the orders say `stop`; each finishes what it has begun."""
    names = list(read_orders(folder)["clients"])
    lock = threading.Lock()
    with (folder / "results.jsonl").open("a") as results:

        def work(name: str, keeps_connection: bool) -> None:
            client = Client(name, keeps_connection)
            while not (orders := read_orders(folder))["stop"]:
                result = client.ask(orders)
                with lock:
                    results.write(json.dumps(asdict(result)) + "\n")
                    results.flush()
                time.sleep(THINK_SECONDS if result.outcome == OK else PAUSE_SECONDS)
            client.close()

        # Some libraries keep their connection and some do not.
        with ThreadPoolExecutor(len(names)) as pool:
            working = [pool.submit(work, name, place % 2 == 0) for place, name in enumerate(names)]
            # Raises what went wrong in here, such as orders that cannot be read.
            for worker in working:
                worker.result()


def read_orders(folder: Path) -> dict[str, Any]:
    """What to do now."""
    orders: dict[str, Any] = json.loads((folder / "orders.json").read_text())
    return orders


def read_results(text: str) -> list[Result]:
    """The results in a file of them."""
    return [Result(**json.loads(line)) for line in text.splitlines()]


@dataclass(frozen=True)
class Figures:
    """Results of one phase or kind, counted; times in seconds."""

    sent: int
    failed: int
    cut: int
    wrong: int
    p50: float
    p95: float
    longest_wait: float
    longest_gap: float

    @classmethod
    def of(cls, results: Iterable[Result]) -> Figures:
        """Count them; without any, all is 0."""
        counted = list(results)
        outcomes = [result.outcome for result in counted]
        waits = sorted(result.wait for result in counted)
        return cls(
            sent=len(counted),
            failed=outcomes.count(FAILED),
            cut=outcomes.count(CUT),
            wrong=outcomes.count(WRONG),
            p50=percentile(waits, 50),
            p95=percentile(waits, 95),
            longest_wait=percentile(waits, 100),
            longest_gap=max((result.gap for result in counted), default=0.0),
        )

    @property
    def lost(self) -> int:
        """All that did not end as they should."""
        return self.failed + self.cut + self.wrong


def percentile(ordered: list[float], percent: int) -> float:
    """The value that so many of 100 do not exceed, 0 without any; the list ascends."""
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else 0.0


def table(results: Iterable[Result]) -> str:
    """The figures of every phase and kind, and of all, as a table for a page of documentation."""
    groups: defaultdict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        for group in ((result.phase, result.kind), ("all", result.kind), ("all", "all")):
            groups[group].append(result)
    phases = dict.fromkeys(phase for phase, _ in groups if phase != "all")
    rows = ["| phase | questions | sent | failed | cut | wrong | waited p50 | p95 | longest | longest gap |"]
    rows.append("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for phase in (*phases, "all"):
        for kind in (*KINDS, "all"):
            if members := groups.get((phase, kind)):
                found = Figures.of(members)
                counts = f"{found.sent} | {found.failed} | {found.cut} | {found.wrong}"
                times = (
                    f"{found.p50:.2f} s | {found.p95:.2f} s | {found.longest_wait:.2f} s | {found.longest_gap:.2f} s"
                )
                rows.append(f"| {phase} | {kind} | {counts} | {times} |")
    return "\n".join(rows)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
