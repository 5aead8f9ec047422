"""What a new replica must answer before the old ones go."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.gateway import first_question
from plugins.module_utils.gateway.asking import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "planted-master-key-4711"
QUESTIONS: list[dict[str, Any]] = [
    {"name": "smart", "mode": "chat", "paid": True, "timeout": 5},
    {"name": "embed", "mode": "embedding", "paid": False, "timeout": 5},
    {"name": "local", "mode": "chat", "paid": False, "timeout": 5, "resident": True},
]


class Replica(ThreadingHTTPServer):
    """Answers with the status set for each model, and notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.listed = ["smart", "embed", "local"]
        self.status: dict[str, int] = {}
        self.asked: list[dict[str, Any]] = []

    def silence(self, questions: list[dict[str, Any]] = QUESTIONS) -> str:
        return first_question.silence(self.gateway(), questions)

    def gateway(self, key: str = KEY) -> Gateway:
        return Gateway(f"http://127.0.0.1:{self.server_port}", key)


class Handler(BaseHTTPRequestHandler):
    """LiteLLM's two dialects that matter here: the model list and a question."""

    server: Replica

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        self._reply(200, {"data": [{"id": name} for name in self.server.listed]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        status = self.server.status.get(body["model"], 200)
        self._reply(status, {"error": {"message": f"no luck with {KEY}"}} if status != 200 else {"choices": []})

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        status = status if self.headers["Authorization"] == f"Bearer {KEY}" else 401
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def replica() -> Iterator[Replica]:
    server = Replica()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_one_free_answer_is_enough_and_a_model_in_memory_is_asked_first(replica: Replica) -> None:
    assert replica.silence() == ""
    assert [body["model"] for body in replica.asked] == ["local"]


def test_no_fallback_answers_in_its_place_as_that_may_cost_money(replica: Replica) -> None:
    replica.silence()
    assert replica.asked[0]["disable_fallbacks"] is True


def test_a_backend_that_is_away_does_not_keep_the_replica_out(replica: Replica) -> None:
    replica.status = {"local": 503}
    assert replica.silence() == ""
    assert [body["model"] for body in replica.asked] == ["local", "embed"]


def test_no_answer_at_all_is_told_with_each_reason_and_without_the_key(replica: Replica) -> None:
    replica.status = {"local": 500, "embed": 401}
    silence = replica.silence()
    assert silence.startswith("local: status 500: ")
    assert "; embed: status 401: " in silence
    assert KEY not in silence


def test_nothing_that_costs_money_is_asked(replica: Replica) -> None:
    assert replica.silence([{**question, "paid": True} for question in QUESTIONS]) == ""
    assert replica.asked == []


def test_other_models_than_the_catalog_s_are_a_problem(replica: Replica) -> None:
    assert first_question.list_problem(replica.gateway(), QUESTIONS) == ""
    replica.listed = ["local", "old"]
    problem = first_question.list_problem(replica.gateway(), QUESTIONS)
    assert problem == "its model list is local, old instead of embed, local, smart"


def test_a_key_that_it_refuses_is_a_problem(replica: Replica) -> None:
    assert "status 401" in first_question.list_problem(replica.gateway("another-key"), QUESTIONS)


def test_readiness_is_its_own_answer(replica: Replica) -> None:
    assert first_question.ready(f"http://127.0.0.1:{replica.server_port}", "/health/readiness") is False
    assert first_question.ready("http://127.0.0.1:1", "/health/readiness") is False
