"""What a gateway must keep shut, and how it is asked over TLS at an address that is not its name's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plugins.module_utils.gateway.asking import Gateway, NoAnswer, Route
from plugins.module_utils.gateway.routes import CLOSED_ROUTES, UNKNOWN_HOST, closed_route_failures, stranger_failures
from tests.unit.gateway_stand_in import KEY, Runner, StandIn, served

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    for server in served():
        server.behaviour.ingress = True
        yield server


def self_signed(path: Path, *names: str) -> Path:
    """Write a certificate for names and addresses, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    known: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(minutes=5))
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path / "gateway.pem", "gateway.test", "127.0.0.1")


def test_the_whole_check_runs_over_tls_at_another_address(
    capsys: pytest.CaptureFixture[str], gateway: StandIn, certificate: Path
) -> None:
    gateway.speak_tls(str(certificate))
    run = Runner(capsys, f"https://gateway.test:{gateway.server_port}")
    asked = {"connect_to": "127.0.0.1", "ca_file": str(certificate), "ask_routes": True}
    result = run(**asked, replicas=[{"name": "litellm-1", "url": ""}], ask_redis=False)
    assert result["failures"] == ["replica litellm-1: does not run"]
    assert set(gateway.hosts) == {f"gateway.test:{gateway.server_port}", UNKNOWN_HOST}


def test_a_gateway_without_a_name_is_asked_by_its_address(gateway: StandIn, certificate: Path) -> None:
    gateway.speak_tls(str(certificate))
    url = f"https://127.0.0.1:{gateway.server_port}"
    assert Gateway(url, KEY, route=Route(ca_pem=certificate.read_text())).ask("GET", "/v1/models").status == 200


@pytest.mark.parametrize(
    ("names", "trusted", "says"),
    [
        (("gateway.test",), False, "is not trusted (self-signed certificate)"),
        (("other.test",), True, "is not trusted (Hostname mismatch, certificate is not valid for 'gateway.test'.)"),
    ],
)
def test_a_wrong_certificate_is_named_as_the_reason(
    gateway: StandIn, tmp_path: Path, names: tuple[str, ...], trusted: bool, says: str
) -> None:
    shown = self_signed(tmp_path / "shown.pem", *names)
    other = self_signed(tmp_path / "other.pem", "gateway.test")
    gateway.speak_tls(str(shown))
    url = f"https://gateway.test:{gateway.server_port}"
    asked = Gateway(url, KEY, "docker logs x", Route("127.0.0.1", str(shown if trusted else other)))
    with pytest.raises(NoAnswer) as failure:
        asked.ask("GET", "/v1/models")
    assert str(failure.value) == (
        f"GET /v1/models: the certificate of {url} (asked at 127.0.0.1) {says}. Look at: docker logs x"
    )


def test_a_gateway_that_speaks_no_tls_is_told_from_one_that_does(gateway: StandIn) -> None:
    asked = Gateway(f"https://127.0.0.1:{gateway.server_port}", KEY)
    with pytest.raises(NoAnswer, match=r"the connection to https://127\.0\.0\.1:.* failed .*SSLError"):
        asked.ask("GET", "/v1/models", timeout=2)


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_certificate_file_that_is_none_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.crt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=r"ca_file: .*ca\.crt cannot be read as certificates in PEM"):
        Gateway("https://gateway.test", KEY, route=Route(ca_file=str(file)))


def test_shut_routes_and_unknown_hosts_are_no_failure(gateway: StandIn) -> None:
    assert closed_route_failures(Gateway(gateway.url, "")) == []
    asked = {(method, path.replace("//", "/")) for method, path, _, _ in gateway.asked}
    assert {(method, path.replace("//", "/")) for method, path in CLOSED_ROUTES} <= asked
    assert {key for _, _, key, _ in gateway.asked if key and key.startswith("Bearer sk-wrong-")}


def test_an_answer_that_is_lost_once_is_asked_for_again(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[tuple[str, str], int] = {}
    real = Gateway.ask

    def lossy(self: Gateway, method: str, path: str, *args: Any, **more: Any) -> Any:
        place = (method, f"{path} {more.get('host', '')}")
        asked[place] = asked.get(place, 0) + 1
        if asked[place] <= lost:
            raise NoAnswer(f"{method} {path}: no answer within 10 s.")
        return real(self, method, path, *args, **more)

    monkeypatch.setattr(Gateway, "ask", lossy)
    lost = 1
    assert closed_route_failures(Gateway(gateway.url, "")) == []
    assert set(asked.values()) == {2}
    asked.clear()
    lost = 2
    failures = closed_route_failures(Gateway(gateway.url, ""))
    assert len(failures) == len(CLOSED_ROUTES) + 1
    assert failures[0] == "administrative routes: GET /: no answer within 10 s."


def test_each_route_that_is_let_through_is_named(gateway: StandIn) -> None:
    gateway.behaviour.open_routes += ("/key/generate", "/v1/../key/list")
    assert closed_route_failures(Gateway(gateway.url, "")) == [
        f"administrative routes: {route} must not be found (404), but: status 401, invalid key (key). "
        "The ingress lets it through: run make apply, which writes its configuration anew"
        for route in ("GET /v1/../key/list", "POST /key/generate")
    ]


def test_an_answer_for_any_host_is_a_failure(gateway: StandIn) -> None:
    gateway.behaviour.open_hosts += (UNKNOWN_HOST,)
    (failure,) = closed_route_failures(Gateway(gateway.url, ""))
    assert failure.startswith(f"unknown host: a request for {UNKNOWN_HOST} must not be found (404), but: status 401")


def test_a_stranger_gets_401(gateway: StandIn) -> None:
    assert stranger_failures(Gateway(gateway.url, "")) == []
    gateway.behaviour.open_to_all = True
    failures = stranger_failures(Gateway(gateway.url, ""))
    assert [failure.split(":")[0] for failure in failures] == ["request without a key", "request with a wrong key"]
    assert "GET /v1/models must be refused with 401, but: status 200" in failures[0]


def test_open_routes_fail_the_check(capsys: pytest.CaptureFixture[str], gateway: StandIn) -> None:
    gateway.behaviour.open_routes += ("/metrics/", "/health/readiness", "/cache/ping")
    result: dict[str, Any] = Runner(capsys, gateway.url)(ask_routes=True)
    assert [failure.split(" must")[0] for failure in result["failures"]] == [
        "administrative routes: GET /health/readiness",
        "administrative routes: GET /cache/ping",
    ]
