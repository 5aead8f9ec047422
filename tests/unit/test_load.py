"""The load of the tests notices every answer that fails, is cut or is wrong; its clients ask the provider stand-in."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import load
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from load import CUT, FAILED, OK, WRONG, Client, Figures, Question, Result

from tests.doubles import provider

KEY = "key-that-is-right"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PACES_MS", dict.fromkeys(load.KINDS, 1))
    monkeypatch.setattr(load, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(load, "THINK_SECONDS", 0.0)


@pytest.fixture
def server() -> Iterator[provider.ProviderServer]:
    running = provider.ProviderServer(("127.0.0.1", 0), (KEY,), 0.0)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.stop()
    thread.join()
    running.server_close()


def orders(port: int, kind: str = "short", **more: Any) -> dict[str, Any]:
    client = {"kind": kind, "key": KEY, "model": "gpt-a", "answered_by": ["gpt-a"], "paced": True, **more}
    address = {"scheme": "http", "host": "127.0.0.1", "dial": "127.0.0.1", "port": port, "ca_file": ""}
    return {"address": address, "phase": "quiet", "stop": False, "clients": {"one": client}}


def ask(port: int, kind: str = "short", **more: Any) -> Result:
    client = Client("one", keeps_connection=False)
    return client.ask(orders(port, kind, **more))


@pytest.mark.parametrize("kind", load.KINDS)
def test_a_right_answer(server: provider.ProviderServer, kind: str) -> None:
    result = ask(server.server_port, kind)
    assert (result.outcome, result.problem, result.status, result.answered_by) == (OK, "", 200, "gpt-a")
    assert (result.client, result.kind, result.phase, result.model) == ("one", kind, "quiet", "gpt-a")
    assert result.chunks == (50 if kind == "stream" else 0)
    assert (result.gap > 0) is (kind == "stream")
    assert 0 < result.wait < result.seconds < 2


@pytest.mark.parametrize("kind", load.KINDS)
@pytest.mark.parametrize(
    ("fault", "outcome", "problem"),
    [
        ({"fault": "500"}, FAILED, "status 500: .*The server had an error"),
        ({"fault": "refuse"}, FAILED, "ConnectionResetError"),
        ({"fault": "cut"}, CUT, "IncompleteRead|without .DONE.|NoAnswer"),
    ],
)
def test_a_failed_and_a_cut_answer(
    server: provider.ProviderServer, kind: str, fault: dict[str, Any], outcome: str, problem: str
) -> None:
    server.ledger_of("127.0.0.1").set_fault(fault)
    result = ask(server.server_port, kind)
    assert result.outcome == outcome
    assert re.search(problem, result.problem), result.problem
    assert result.wait > 0


def test_an_error_in_the_middle_of_a_stream_cuts_it(server: provider.ProviderServer) -> None:
    server.ledger_of("127.0.0.1").set_fault({"fault": "503", "at": "middle"})
    result = ask(server.server_port, "stream")
    assert result.outcome == CUT
    assert "overloaded" in result.problem
    assert 20 <= result.chunks < 30


def test_nobody_there_is_a_failure() -> None:
    result = ask(1)
    assert (result.outcome, result.status) == (FAILED, 0)
    assert "ConnectionRefusedError" in result.problem


def test_a_refused_key_is_not_repeated(server: provider.ProviderServer) -> None:
    result = ask(server.server_port, key="wrong-key-of-a-client")
    assert (result.outcome, result.status) == (FAILED, 401)
    assert "wrong-key" not in result.problem


@pytest.mark.parametrize("kind", load.KINDS)
def test_the_answer_of_another_model_is_wrong(server: provider.ProviderServer, kind: str) -> None:
    result = ask(server.server_port, kind, answered_by=["gpt-b", "gpt-c"])
    assert (result.outcome, result.answered_by) == (WRONG, "gpt-a")
    assert result.problem == "gpt-a was answered by gpt-a, not gpt-b or gpt-c"
    assert ask(server.server_port, kind, answered_by=["gpt-a", "gpt-b"]).outcome == OK


def said(question: Question, who: str = "provider", model: str = "gpt-a") -> str:
    numbers = "".join(f" {n}" for n in range(11 + len(question.text.split()), question.words + 1))
    echo = f"This is {model} speaking through the {who} stand-in. You wrote: {question.text}"
    return echo + (numbers if who == "provider" else "")


def test_only_the_whole_answer_to_this_question_is_right() -> None:
    mine, other = Question.number(1, "one", "stream"), Question.number(1, "other", "stream")
    assert mine.answered_by(said(mine)) == "gpt-a"
    assert mine.answered_by(said(mine, "Ollama", "smollm2:135m")) == "smollm2:135m"
    whole = said(mine)
    for text in (said(other), whole[:-1], whole + " 51", whole.replace(" 30", ""), whole * 2, ""):
        with pytest.raises(ValueError, match="asked 'Question 1 of one"):
            mine.answered_by(text)


def test_no_two_questions_are_alike() -> None:
    asked = [Question.number(n, client, kind).text for n in range(50) for client in "ab" for kind in load.KINDS]
    assert len(set(asked)) == len(asked)


class Closing(http.server.BaseHTTPRequestHandler):
    """Answers as the provider stand-in, and closes the connection without a word about it."""

    protocol_version = "HTTP/1.1"
    closes = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = provider.answer_to(body, body["messages"], "", None).text
        content = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.server.ports.append(self.client_address[1])  # type: ignore[attr-defined]
        self.close_connection = self.closes

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize("closes", [True, False])
def test_a_client_keeps_its_connection_as_long_as_the_gateway_does(closes: bool) -> None:
    handler = type("Handler", (Closing,), {"closes": closes})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.ports = []  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        client = Client("one", keeps_connection=True)
        outcomes = []
        for _ in range(3):
            outcomes.append(client.ask(orders(running.server_port)).outcome)
            time.sleep(0.05)
        client.close()
        running.shutdown()
        assert outcomes == [OK] * 3
        assert len(set(running.ports)) == (3 if closes else 1)  # type: ignore[attr-defined]


def certificate(folder: Path, name: str) -> Path:
    """A certificate that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.7"))]
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    unencrypted = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_is_checked_for_the_name_behind_another_address(server: provider.ProviderServer, tmp_path: Path) -> None:
    own = certificate(tmp_path, "gateway.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    told = orders(server.server_port)
    address = {**told["address"], "scheme": "https", "ca_file": str(own)}

    def outcome(**more: Any) -> tuple[str, str]:
        result = Client("one", keeps_connection=False).ask({**told, "address": {**address, **more}})
        return result.outcome, result.problem

    assert outcome(host="gateway.test") == (OK, "")
    assert outcome(host="192.0.2.7") == (OK, "")
    for wrong in ({"host": "other.test"}, {"host": "gateway.test", "ca_file": str(certificate(tmp_path, "other"))}):
        failed, problem = outcome(**wrong)
        assert failed == FAILED
        assert "certificate verify failed" in problem


def test_the_clients_follow_new_orders_until_they_are_told_to_stop(
    server: provider.ProviderServer, tmp_path: Path
) -> None:
    def give(**more: Any) -> None:
        told = orders(server.server_port)
        client = told["clients"]["one"]
        told["clients"] = {"one": client, "two": client | {"model": "gpt-b", "answered_by": ["gpt-b"]}}
        (tmp_path / "new").write_text(json.dumps({**told, **more}))
        (tmp_path / "new").rename(tmp_path / "orders.json")

    def results() -> list[Result]:
        return load.read_results((tmp_path / "results.jsonl").read_text())

    def asked_in(phase: str) -> bool:
        return {r.client for r in results() if r.phase == phase} == {"one", "two"}

    (tmp_path / "results.jsonl").touch()
    give(phase="first")
    running = threading.Thread(target=load.run, args=(tmp_path,), daemon=True)
    running.start()
    deadline = time.monotonic() + 5
    try:
        for phase in ("first", "second"):
            give(phase=phase)
            while not asked_in(phase):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        give(stop=True)
        running.join(5)
    assert not running.is_alive()
    found = results()
    assert {(r.client, r.model, r.answered_by) for r in found} == {("one", "gpt-a", "gpt-a"), ("two", "gpt-b", "gpt-b")}
    assert {r.outcome for r in found} == {OK}
    assert server.ledger_of("127.0.0.1").report()["total"] == len(found)


def test_orders_that_cannot_be_read_end_the_run_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "orders.json").write_text(json.dumps({"clients": {"one": {}}}))
    with pytest.raises(KeyError, match="stop"):
        load.run(tmp_path)


def result(kind: str, phase: str, outcome: str, wait: float, gap: float = 0.0) -> Result:
    return Result("one", kind, phase, "gpt-a", 0.0, wait=wait, gap=gap, outcome=outcome)


def test_every_loss_is_counted() -> None:
    found = [result("short", "quiet", OK, n / 10) for n in range(1, 18)]
    found += [result("stream", "roll", outcome, 2.5, gap=0.4) for outcome in (FAILED, CUT, WRONG)]
    every = Figures.of(found)
    assert (every.sent, every.failed, every.cut, every.wrong, every.lost) == (20, 1, 1, 1, 3)
    assert (every.p50, every.p95, every.longest_wait, every.longest_gap) == (1.0, 2.5, 2.5, 0.4)
    assert Figures.of([]) == Figures(0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)
    lines = load.table(found).splitlines()
    assert lines[2:] == [
        "| quiet | short | 17 | 0 | 0 | 0 | 0.90 s | 1.70 s | 1.70 s | 0.00 s |",
        "| roll | stream | 3 | 1 | 1 | 1 | 2.50 s | 2.50 s | 2.50 s | 0.40 s |",
        "| all | short | 17 | 0 | 0 | 0 | 0.90 s | 1.70 s | 1.70 s | 0.00 s |",
        "| all | stream | 3 | 1 | 1 | 1 | 2.50 s | 2.50 s | 2.50 s | 0.40 s |",
        "| all | all | 20 | 1 | 1 | 1 | 1.00 s | 2.50 s | 2.50 s | 0.40 s |",
    ]


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 2.0), (51, 3.0), (95, 4.0), (100, 4.0)])
def test_percentiles(percent: int, value: float) -> None:
    assert load.percentile([1.0, 2.0, 3.0, 4.0], percent) == value
