"""What a client of the drill understands of LiteLLM's answers, and how the module ends."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.drill.asking import NotReached, Replica, StandIn
from plugins.module_utils.drill.engine import Engine, EngineFailed
from plugins.modules import gateway_drill
from tests.unit.test_drill_figures import SHIPPED
from tests.unit.test_drill_plan import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = 'data: {"choices": [{"delta": {"role": "assistant", "content": "All"}}]}\n\n'
THOUGHT = 'data: {"choices": [{"delta": {"reasoning_content": "Hm"}}]}\n\n'
ROLE_ALONE = 'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
BROKEN = 'data: {"error": {"message": "the stream broke off", "code": "500"}}\n\n'
DONE = "data: [DONE]\n\n"


class Server(ThreadingHTTPServer):
    """Answers with what a test has laid ready."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.body = "{}"
        self.headers = {"x-litellm-model-id": "drill/a/b"}
        self.breaks_off = False
        self.asked: list[tuple[str, str, str | None, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _handle(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization"), body))
        content = self.server.body.encode()
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) + 10 * self.server.breaks_off))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def replica(server: Server) -> Replica:
    return Replica("127.0.0.1", server.server_port, KEYS)


def test_asks_as_the_client_it_is_told_to_be(server: Server) -> None:
    answer = replica(server).ask("drill-cloud", "drill-limited")
    assert answer.good
    assert answer.seen == "200"
    assert answer.backend == "drill/a/b"
    method, path, key, body = server.asked[0]
    assert (method, path, key) == ("POST", "/v1/chat/completions", f"Bearer {KEYS['drill-limited']}")
    assert body["model"] == "drill-cloud"
    assert body["stream"] is False


def test_an_error_is_told_with_its_message_and_when_to_come_back(server: Server) -> None:
    server.status, server.headers = 429, {"Retry-After": "42"}
    server.body = json.dumps({"error": {"message": "over\n  the limit"}})
    answer = replica(server).ask("m", "drill")
    assert not answer.good
    assert (answer.seen, answer.error, answer.retry_after) == ("429", "over the limit", "42")


@pytest.mark.parametrize(
    ("body", "breaks_off", "good", "seen"),
    [
        (ROLE_ALONE + WORD + DONE, False, True, "200"),
        (THOUGHT + WORD + DONE, False, True, "200"),
        (WORD + BROKEN + DONE, False, False, "200, then an error after the first words"),
        (BROKEN, False, False, "200, then an error before the first word"),
        (WORD, False, False, "200, then silence after the first words"),
        (WORD, True, False, "200, then silence after the first words"),
        (": comment\n\ndata: no json\n\n", False, False, "200, then silence before the first word"),
    ],
)
def test_streams_end_well_or_with_an_error_or_in_silence(
    server: Server, body: str, breaks_off: bool, good: bool, seen: str
) -> None:
    server.body, server.breaks_off = body, breaks_off
    answer = replica(server).ask("m", "drill", stream=True)
    assert answer.good is good
    assert answer.seen == seen


def test_a_refused_stream_is_an_error(server: Server) -> None:
    server.status, server.body = 503, json.dumps({"error": "nobody"})
    answer = replica(server).ask("m", "drill", stream=True)
    assert (answer.seen, answer.error) == ("503", "nobody")


def test_no_answer_is_one_too(server: Server) -> None:
    server.breaks_off = True
    assert replica(server).ask("m", "drill").seen == "no answer"
    server.shutdown()
    server.server_close()
    answer = replica(server).ask("m", "drill")
    assert (answer.seen, answer.error) == ("no answer", "ConnectionRefusedError")
    assert replica(server).reaches_redis("admin") is False


@pytest.mark.parametrize(("status", "reached"), [(200, True), (503, False)])
def test_asks_about_redis_as_administrator(server: Server, status: int, reached: bool) -> None:
    server.status = status
    assert replica(server).reaches_redis("admin") is reached
    assert server.asked == [("GET", "/cache/ping", f"Bearer {KEYS['admin']}", None)]


def test_orders_faults(server: Server) -> None:
    stand_in = StandIn("127.0.0.1", server.server_port)
    stand_in.set_faults({"drill-first": "hang"})
    assert server.asked == [("PUT", "/faults", None, {"drill-first": "hang"})]
    server.body = '{"drill-first": 3}'
    assert stand_in.hits() == {"drill-first": 3}


def test_a_stand_in_that_refuses_or_is_away_is_named(server: Server) -> None:
    stand_in = StandIn("127.0.0.1", server.server_port)
    server.status, server.body = 400, '{"error": "there is no provider"}'
    with pytest.raises(NotReached, match="refuses: there is no provider"):
        stand_in.set_faults({"x": "hang"})
    server.shutdown()
    server.server_close()
    with pytest.raises(NotReached, match="does not answer"):
        stand_in.hits()


def run_module(capsys: pytest.CaptureFixture[str], **params: Any) -> dict[str, Any]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        with patch_module_args(params), pytest.raises(SystemExit):
            gateway_drill.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


CASE = {"name": "hang", "title": "a provider hangs"}


def test_the_module_names_an_unknown_case_and_missing_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = run_module(capsys, case={"name": "flood", "title": "x"}, keys=KEYS, limits=SHIPPED)
    assert "the names are refused, error_500" in failed["msg"]
    failed = run_module(capsys, case=CASE, keys={"admin": "x"}, limits=SHIPPED)
    assert failed["msg"] == "keys: no key for drill, drill-limited, drill-spending"
    failed = run_module(capsys, case=CASE, keys=KEYS, limits={})
    assert "hang_first_seconds is missing" in failed["msg"]
    monkeypatch.setenv("PATH", "/nowhere")
    failed = run_module(capsys, case=CASE, keys=KEYS, limits=SHIPPED)
    assert "docker is not installed" in failed["msg"]


def test_the_module_does_nothing_in_check_mode(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_module(capsys, case=CASE, keys=KEYS, limits=SHIPPED, _ansible_check_mode=True)
    assert done["changed"] is False
    assert "result" not in done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_module_by_way_of_tidying(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    tidied: list[bool] = []

    def interrupted(_params: Any) -> Any:
        try:
            signal.raise_signal(number)
        finally:
            # A second signal must not break into this.
            signal.raise_signal(number)
            tidied.append(True)

    monkeypatch.setattr(gateway_drill, "drill", interrupted)
    failed = run_module(capsys, case=CASE, keys=KEYS, limits=SHIPPED)
    assert failed["msg"] == f"the drill was ended by {number.name}; what it had stopped is back"
    assert tidied == [True]


class Docker(Engine):
    """A Docker that remembers what it was told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.redis_runs = True

    def put_back(self, containers: Any) -> list[str]:
        self.done.append(f"put back {' '.join(containers)}")
        return ["llm-gateway-redis"] if self.redis_runs else []

    def wait_until_healthy(self, container: str, timeout: float = 1) -> None:  # noqa: ARG002
        self.done.append(f"wait for {container}")

    def runs(self, container: str) -> bool:
        assert container == "llm-gateway-redis"
        return self.redis_runs

    def forget(self, redis: str, namespace: str) -> None:
        self.done.append(f"forget {namespace} in {redis}")


def test_the_module_restores(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    docker = Docker()
    monkeypatch.setattr("plugins.module_utils.drill.engine.Engine", lambda: docker)
    done = run_module(capsys, state="restored")
    assert done["changed"] is True
    assert done["restored"] == ["llm-gateway-redis"]
    assert docker.done == [
        "put back llm-gateway-redis llm-gateway-ollama",
        "wait for llm-gateway-redis",
        "forget drill in llm-gateway-redis",
    ]
    docker.done.clear()
    docker.redis_runs = False
    assert run_module(capsys, state="restored")["changed"] is False
    assert docker.done == ["put back llm-gateway-redis llm-gateway-ollama"]


def failing(reason: str) -> Callable[[Any], Any]:
    def restore(_params: Any) -> Any:
        raise EngineFailed(reason)

    return restore


def test_the_module_says_what_is_not_back(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_drill, "restore", failing("redis cannot be started. Run make apply"))
    assert run_module(capsys, state="restored")["msg"] == "redis cannot be started. Run make apply"
