"""By which names clients reach the gateway, which certificate they get, and which combinations are refused."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plugins.module_utils.catalog import address
from plugins.module_utils.catalog.plan import check, make_plan
from tests.unit.catalog_samples import SETTINGS, declaration

CA = ("ca_file", "fetched_ca_file")


def settings(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS, **{f"llm_{name}": value for name, value in changes.items()}}


def problems(box: str = "gateway-1", box_address: str = "", **changes: Any) -> list[str]:
    return [str(problem) for problem in address.address_problems(settings(**changes), box, box_address)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate and its key."""
    return make_pair(tmp_path_factory.mktemp("tls"), 90, "llm.example.org", "*.lan", "10.0.0.4")


def make_pair(folder: Path, days: int, *names: str) -> tuple[Path, Path]:
    """Make a certificate for names and addresses that ends in so many days, or has ended so long ago, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "llm.example.org")])
    ends = datetime.now(UTC) + timedelta(days=days)
    builder = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=365))
        .not_valid_after(ends)
    )
    if names:
        known: list[x509.GeneralName] = [
            x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(known), critical=False)
    encoding = serialization.Encoding.PEM
    certificate, key = folder / f"{days}.pem", folder / f"{days}.key.pem"
    certificate.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(encoding))
    key.write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate, key


@pytest.mark.parametrize(
    ("bind", "declared", "box", "box_address", "expected"),
    [
        ("127.0.0.1", [], "localhost", "", ["127.0.0.1", "localhost"]),
        ("127.0.0.1", [], "llm.lan", "llm-box", ["127.0.0.1", "localhost"]),
        ("127.0.0.9", [], "box", "", ["127.0.0.9", "localhost", "127.0.0.1"]),
        ("192.168.1.10", [], "gateway-1", "10.0.0.4", ["192.168.1.10", "localhost", "127.0.0.1"]),
        ("192.168.1.10", [], "llm.lan", "", ["192.168.1.10", "llm.lan", "localhost", "127.0.0.1"]),
        ("0.0.0.0", [], "gateway-1", "192.168.1.10", ["192.168.1.10", "localhost", "127.0.0.1"]),
        ("0.0.0.0", [], "NAS.lan", "", ["nas.lan", "localhost", "127.0.0.1"]),
        ("0.0.0.0", [], "nas", "", ["nas", "localhost", "127.0.0.1"]),
        ("0.0.0.0", [], "llm.lan", "fd00::7", ["llm.lan", "localhost", "127.0.0.1"]),
        ("0.0.0.0", [], "localhost", "127.0.0.1", ["localhost", "127.0.0.1"]),
        ("0.0.0.0", ["LLM.lan", "10.0.0.4"], "box.lan", "10.0.0.9", ["llm.lan", "10.0.0.4", "localhost", "127.0.0.1"]),
        ("127.0.0.1", ["localhost"], "box", "", ["localhost", "127.0.0.1"]),
    ],
)
def test_the_hosts_by_which_clients_may_ask(
    bind: str, declared: list[str], box: str, box_address: str, expected: list[str]
) -> None:
    assert address.hosts(bind, declared, box, box_address) == expected


@pytest.mark.parametrize("host", ["llm", "llm.home.arpa", "LLM-2.lan", "10.0.0.7", "xn--bcher-kva.example"])
def test_hosts_are_names_and_ipv4_addresses(host: str) -> None:
    assert address.is_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "https://llm.lan", "llm.lan:4000", "llm_1", "-a", "fd00::1", "1.2.3", "1.2.3.400", "*.lan", "a..b", "a b", 7],
)
def test_other_things_are_no_hosts(host: Any) -> None:
    assert not address.is_host(host)


def test_the_box_asks_itself_and_other_machines_ask_the_first_host() -> None:
    found = address.address(settings(bind_address="0.0.0.0", hosts=["llm.lan", "192.168.1.10"], port="4001"), "box", "")
    assert (found.scheme, found.host, found.port, found.bind) == ("https", "llm.lan", 4001, "127.0.0.1")
    # Who asks the address names no host, and is to get a certificate with that address.
    assert found.default_host == "192.168.1.10"


def test_without_an_address_the_first_name_is_the_one_for_clients_that_give_none() -> None:
    found = address.address(settings(tls="acme", bind_address="0.0.0.0", hosts=["llm.example.org"]), "box", "10.0.0.4")
    assert (found.hosts, found.default_host, found.ca_file) == (["llm.example.org"], "llm.example.org", "")


@pytest.mark.parametrize("written", [False, "off", "False", "no", "OFF"])
def test_off_may_be_written_as_yaml_reads_it(written: Any) -> None:
    plan = make_plan(declaration(settings={"llm_tls": written}))
    assert (plan["address"]["tls"], plan["address"]["scheme"], plan["address"]["ca_file"]) == ("off", "http", "")


def test_the_plan_says_where_the_gateway_is() -> None:
    plan = make_plan(declaration(settings={"llm_bind_address": "192.168.1.10"}))
    assert {name: plan["address"][name] for name in ("scheme", "host", "port", "bind", *CA)} == {
        "scheme": "https",
        "host": "192.168.1.10",
        "port": 4000,
        "bind": "192.168.1.10",
        "ca_file": "/var/lib/llm-gateway/ingress/caddy/pki/authorities/local/root.crt",
        "fetched_ca_file": "ca/box.crt",
    }


def test_acme_needs_the_port_of_the_challenge_too() -> None:
    acme = {"llm_tls": "acme", "llm_bind_address": "0.0.0.0", "llm_hosts": ["llm.example.org"], "llm_port": 443}
    ports = make_plan(declaration(settings=acme))["ports"]
    assert [(port["port"], port["variable"]) for port in ports] == [(443, "llm_port"), (80, "llm_tls")]
    assert [port["port"] for port in make_plan(declaration())["ports"]] == [4000]


def test_every_address_of_the_box_is_no_host() -> None:
    (found,) = problems("localhost", bind_address="0.0.0.0")
    assert found == (
        "group_vars/all/gateway.yml: llm_hosts: is empty, and with llm_bind_address 0.0.0.0 nothing else tells at which"
        " address clients ask. Write llm_hosts: [192.168.1.10] with the box's address or name in your network."
    )
    assert problems("localhost", "192.168.1.10", bind_address="0.0.0.0") == []


@pytest.mark.parametrize("bind", ["192.168.1.10", "0.0.0.0"])
def test_no_key_crosses_the_network_unencrypted(bind: str) -> None:
    (found,) = problems(tls=False, bind_address=bind)
    assert f"llm_tls: is off, but llm_bind_address {bind} lets other machines in" in found
    assert problems(tls=False, bind_address="127.0.0.5") == []


@pytest.mark.parametrize(
    "host", ["llm", "llm.local", "llm.home.arpa", "nas.lan", "a.internal", "203.0.113.9", "localhost", "Box.Example"]
)
def test_acme_is_refused_for_what_no_authority_signs(host: str) -> None:
    (found,) = problems(tls="acme", bind_address="0.0.0.0", hosts=["llm.example.org", host])
    assert f"llm_hosts[1]: no public authority gives a certificate for '{host}'" in found


def test_acme_needs_a_domain_a_reachable_box_and_the_port_of_the_challenge() -> None:
    found = problems(tls="acme", bind_address="127.0.0.1", port=80)
    assert [line.split(": ")[1] for line in found] == ["llm_tls", "llm_port", "llm_hosts"]
    assert problems(tls="acme", bind_address="0.0.0.0", hosts=["llm.example.org"], tls_email="me@example.org") == []


def test_two_addresses_cannot_share_a_certificate_of_the_own_authority() -> None:
    (found,) = problems(bind_address="0.0.0.0", hosts=["192.168.1.10", "llm.lan", "10.0.0.4"])
    assert "llm_hosts: holds 192.168.1.10 and 10.0.0.4" in found
    assert problems(bind_address="0.0.0.0", hosts=["192.168.1.10", "llm.lan", "192.168.1.10"]) == []


def test_what_another_mode_would_need_is_not_left_lying() -> None:
    found = problems(tls_email="me@example.org", tls_certificate="/c.pem", tls_key="/k.pem", tls_ca="/ca.pem")
    names = ["llm_tls_email", "llm_tls_certificate", "llm_tls_key", "llm_tls_ca"]
    assert [line.split(": ")[1] for line in found] == names
    assert all("has no effect with llm_tls: internal" in line for line in found)


def test_own_files_must_be_there(tmp_path: Path) -> None:
    found = problems(tls="files", hosts=["llm.lan"], tls_certificate=str(tmp_path / "none.pem"))
    assert [line.split(": ", 2)[1:] for line in found] == [
        [
            "llm_tls_certificate",
            f"there is no file {tmp_path}/none.pem on this machine. Write where the file lies, or put it there.",
        ],
        ["llm_tls_key", "is empty, but llm_tls: files needs it. Write llm_tls_key: ~/tls/key.pem."],
    ]


def test_own_files_must_be_a_certificate_and_its_key(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate = str(pair[0])
    assert files(pair) == []
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*make, "-out", other], check=True, capture_output=True)
    subprocess.run([*make, "-aes256", "-pass", "pass:x", "-out", locked], check=True, capture_output=True)
    (found,) = problems(tls="files", hosts=["llm.lan"], tls_certificate=certificate, tls_key=str(other))
    assert f"llm_tls_key: {other} is not the key of {certificate}" in found
    for wrong in (str(locked), certificate):
        (found,) = problems(tls="files", hosts=["llm.lan"], tls_certificate=certificate, tls_key=wrong)
        assert "are not a certificate in PEM and its key without a password" in found


def files(pair: tuple[Path, Path], *hosts: str, **changes: Any) -> list[str]:
    certificate, key = map(str, pair)
    named = list(hosts or ["llm.example.org"])
    return problems(tls="files", hosts=named, tls_certificate=certificate, tls_key=key, **changes)


def test_own_files_must_name_every_host(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert files(pair, "LLM.example.org", "nas.lan", "10.0.0.4") == []
    # A star is one label, and addresses have none.
    assert files(pair, "llm.example.org", "a.nas.lan", "10.0.0.5", "lan") == [
        f"group_vars/all/gateway.yml: llm_hosts[{index}]: {pair[0]} is no certificate for '{host}'. "
        "Its names: llm.example.org, *.lan, 10.0.0.4. "
        "Write only names of the certificate, or get one for this name too."
        for index, host in ((1, "a.nas.lan"), (2, "10.0.0.5"), (3, "lan"))
    ]
    (found,) = problems(tls="files", tls_certificate=str(pair[0]), tls_key=str(pair[1]))
    assert "llm_hosts: is empty, but llm_tls: files" in found
    assert "Write llm_hosts: [llm.example.org, 10.0.0.4]" in found
    (found,) = files(make_pair(tmp_path, 90))
    assert "Its names: none: its subjectAltName is empty" in found


def test_own_files_must_not_have_expired_and_soon_is_said(pair: tuple[Path, Path], tmp_path: Path) -> None:
    old = make_pair(tmp_path, -3, "llm.example.org")
    (found,) = files(old)
    assert f"llm_tls_certificate: {old[0]} expired on " in found
    soon = make_pair(tmp_path, 13, "llm.example.org")
    assert files(soon) == []
    declared = {"llm_tls": "files", "llm_hosts": ["llm.example.org"]}
    for certificate, key in (soon, pair):
        paths = {"llm_tls_certificate": str(certificate), "llm_tls_key": str(key)}
        warnings = make_plan(declaration(settings={**declared, **paths}))["warnings"]
        assert [warning.split(" on ")[0] for warning in warnings] == (
            [f"llm_tls_certificate: {certificate} expires"] if certificate == soon[0] else []
        )


def test_an_authority_of_ones_own_is_named_for_the_box_and_for_the_receipt(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    authority = str(pair[0])
    assert files(pair, tls_ca=authority) == []
    own = settings(tls="files", hosts=["llm.lan"], tls_certificate="/c", tls_key="/k", tls_ca=authority)
    found = address.address(own, "box", "")
    assert (found.ca_file, found.fetched_ca_file, found.authority) == (
        "/opt/llm-gateway/ingress/ca.pem",
        authority,
        authority,
    )
    public = address.address({**own, "llm_tls_ca": ""}, "box", "")
    assert (public.ca_file, public.fetched_ca_file, public.authority) == ("", "", "")
    (tmp_path / "none.pem").write_text("no certificate")
    (found_wrong,) = files(pair, tls_ca=str(tmp_path / "none.pem"))
    assert f"llm_tls_ca: {tmp_path}/none.pem holds no certificates in PEM" in found_wrong
    (missing,) = files(pair, tls_ca="/not/there.pem")
    assert "llm_tls_ca: there is no file /not/there.pem on this machine" in missing


def test_one_wrong_setting_is_reported_once() -> None:
    wrong = {"llm_tls": "letsencrypt", "llm_bind_address": "0.0.0.0", "llm_tls_email": "x"}
    found = [str(problem) for problem in check(declaration(settings=wrong))]
    assert [line.split(": ")[1] for line in found] == ["llm_tls", "llm_tls_email"]


def test_the_folder_of_the_authority_is_not_one_that_is_swept() -> None:
    (found,) = check(declaration(settings={"llm_deploy_dir": "/srv/ingress", "llm_data_dir": "/srv"}))
    assert str(found).startswith("group_vars/all/gateway.yml: llm_data_dir: /srv/ingress and /srv/ingress/redis")
