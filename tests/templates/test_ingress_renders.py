"""What the ingress is told in each mode of TLS, and what it never does without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.templates.test_roles_render import INGRESS, caddyfile, compose, render

MODES = ("internal", "acme", "files", "off")
FILES = {"ingress_tls": "files", "ingress_tls_certificate": "/none", "ingress_tls_key": "/none"}


def blocks(**variables: Any) -> dict[str, list[str]]:
    """Return the lines of each block of the configuration, by its first line."""
    text = str(render("ingress", "__ingress_files['config/Caddyfile'].content", **INGRESS, **variables))
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith("\t"):
            name = line
            found[name] = []
        elif line.startswith("\t"):
            found[name].append(line.strip())
    return found


def sites(**variables: Any) -> dict[str, list[str]]:
    """Return the sites that are reached from outside the container."""
    return {name: lines for name, lines in blocks(**variables).items() if "://" in name and ":8081" not in name}


@pytest.mark.parametrize("mode", ["internal", "acme", "files"])
def test_only_the_named_hosts_get_beyond_404(mode: str) -> None:
    found = sites(ingress_tls=mode, ingress_hosts=["llm.lan", "10.0.0.5"], ingress_port=443)
    first, every, *others = found
    assert first == "https://llm.lan:8443, https://10.0.0.5:8443 {"
    assert every == "https://:8443 {"
    assert found[every] == ["log", "import certificate", "error 404", "import errors"]
    assert len(others) == (mode == "acme")


def test_plain_http_knows_the_named_hosts_alone_too() -> None:
    found = sites(ingress_tls="off")
    assert list(found) == ["http://127.0.0.1:8080, http://localhost:8080 {", "http://:8080 {"]
    assert "auto_https off" in caddyfile(ingress_tls="off")
    assert not [line for line in caddyfile(ingress_tls="off") if line.startswith(("tls ", "default_sni"))]


@pytest.mark.parametrize(
    ("mode", "lines"),
    [
        ("internal", ["tls internal"]),
        ("files", ["tls /run/ingress-secrets/certificate.pem /run/ingress-secrets/key.pem"]),
        ("off", []),
    ],
)
def test_who_signs_the_certificate(mode: str, lines: list[str]) -> None:
    assert blocks(ingress_tls=mode)["(certificate) {"] == lines


def test_an_authority_of_the_users_own_lies_beside_the_address(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("a certificate\n")
    names = "__ingress_files.keys() | list"
    assert render("ingress", names, **INGRESS, **FILES) == ["address.json", "config/Caddyfile"]
    own = {**INGRESS, **FILES, "ingress_tls_ca": str(tmp_path / "ca.pem")}
    assert render("ingress", names, **own) == ["address.json", "config/Caddyfile", "ca.pem"]
    assert render("ingress", "__ingress_files['ca.pem'].content", **own) == "a certificate\n"


def test_the_challenge_of_an_authority_has_a_port_of_its_own() -> None:
    acme = {"ingress_tls": "acme", "ingress_tls_email": "me@example.org", "ingress_hosts": ["llm.example.org"]}
    published = compose("ingress", **INGRESS, **acme, ingress_bind_address="0.0.0.0")["services"]["ingress"]["ports"]
    assert published == ["0.0.0.0:4000:8443", "0.0.0.0:80:8080"]
    assert "email me@example.org" in caddyfile(**acme)
    assert not [line for line in caddyfile(**{**acme, "ingress_tls_email": ""}) if line.startswith("email")]
    plain = sites(**acme)["http://:8080 {"]
    assert "redir @read https://{host}:4000{uri} 308" in plain
    assert "redir @read https://{host}{uri} 308" in sites(**acme, ingress_port=443)["http://:8080 {"]
    # A key that came unencrypted is not led on.
    assert plain[plain.index("redir @read https://{host}:4000{uri} 308") + 2] == "error 403"


@pytest.mark.parametrize("mode", ["internal", "files", "off"])
def test_nothing_but_the_gateways_port_is_published_otherwise(mode: str) -> None:
    assert len(render("ingress", "__ingress_published", **INGRESS, ingress_tls=mode)) == 1


def test_who_asks_an_address_gets_the_certificate_of_one() -> None:
    assert "default_sni 10.0.0.5" in caddyfile(ingress_default_host="10.0.0.5")


def test_own_files_are_secrets_of_the_container_alone(tmp_path: Path) -> None:
    files = {}
    for name in ("certificate", "key"):
        (tmp_path / name).write_text(f"PEM of the {name} {{{{ not_a_template }}}}\n")
        files[f"ingress_tls_{name}"] = str(tmp_path / name)
    secrets = render("ingress", "__ingress_secrets", **INGRESS, **{**FILES, **files})
    assert {name: entry["content"] for name, entry in secrets.items()} == {
        "secrets/certificate.pem": "PEM of the certificate {{ not_a_template }}\n",
        "secrets/key.pem": "PEM of the key {{ not_a_template }}\n",
    }
    assert {(entry["owner"], entry["group"]) for entry in secrets.values()} == {(74020, 74020)}
    volumes = render("ingress", "__ingress_volumes", **INGRESS, **FILES)
    assert "./secrets:/run/ingress-secrets:ro,z" in volumes
    assert render("ingress", "__ingress_secrets", **INGRESS) == {}


@pytest.mark.parametrize("mode", MODES)
def test_the_authority_outlives_the_container(mode: str) -> None:
    service = compose("ingress", **INGRESS, ingress_tls=mode)["services"]["ingress"]
    assert "/var/lib/llm-gateway/ingress:/data:z" in service["volumes"]
    assert service["environment"]["XDG_DATA_HOME"] == "/data"


@pytest.mark.parametrize(
    ("limit", "largest"), [("20MB", 20 * 1000**2), ("20MiB", 20 * 1024**2), ("500KB", 500_000), ("1GB", 1000**3)]
)
def test_a_question_is_asked_again_only_when_it_is_kept_whole(limit: str, largest: int) -> None:
    lines = caddyfile(ingress_retry_in_flight=True, ingress_max_body=limit)
    (buffers,) = [int(line.split()[1]) for line in lines if line.startswith("request_buffers")]
    assert buffers > largest
    assert lines[lines.index("lb_retry_match {") + 1] == "method POST"


def test_a_question_is_asked_once_unless_wanted() -> None:
    assert not [line for line in caddyfile() if line.startswith(("lb_retry_match", "request_buffers"))]
    memory = [
        render("ingress", "__ingress_containers.ingress.mem_limit", **INGRESS, ingress_retry_in_flight=wanted)
        for wanted in (False, True)
    ]
    assert memory == ["256m", "1g"]


@pytest.mark.parametrize("mode", MODES)
def test_long_answers_are_cut_in_no_mode(mode: str) -> None:
    lines = caddyfile(ingress_tls=mode)
    assert "flush_interval -1" in lines
    for cutting in ("write ", "response_header_timeout", "read_timeout", "write_timeout", "stream_timeout"):
        assert not [line for line in lines if line.startswith(cutting)]


@pytest.mark.parametrize("mode", MODES)
def test_no_admin_endpoint_but_the_socket_in_the_container(mode: str) -> None:
    lines = caddyfile(ingress_tls=mode)
    assert [line for line in lines if line.startswith("admin")] == ["admin unix//tmp/caddy-admin.sock"]
    reload = render("ingress", "__ingress_reload", **INGRESS, ingress_tls=mode)
    assert reload["command"][-1] == "unix//tmp/caddy-admin.sock"
    assert "protocols h1 h2" in lines
