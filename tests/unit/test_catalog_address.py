"""By which names clients reach the gateway, which certificate they get, and which combinations are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.catalog import address
from plugins.module_utils.catalog.plan import check, make_plan
from tests.unit.catalog_samples import SETTINGS, declaration


def settings(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS, **{f"llm_{name}": value for name, value in changes.items()}}


def problems(box: str = "gateway-1", box_address: str = "", **changes: Any) -> list[str]:
    return [str(problem) for problem in address.address_problems(settings(**changes), box, box_address)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=llm.example.org", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
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
    assert (found.scheme, found.host, found.port, found.bind, found.ca) == ("https", "llm.lan", 4001, "127.0.0.1", True)
    # Who asks the address names no host, and is to get a certificate with that address.
    assert found.default_host == "192.168.1.10"


def test_without_an_address_the_first_name_is_the_one_for_clients_that_give_none() -> None:
    found = address.address(settings(tls="acme", bind_address="0.0.0.0", hosts=["llm.example.org"]), "box", "10.0.0.4")
    assert (found.hosts, found.default_host, found.ca) == (["llm.example.org"], "llm.example.org", False)


@pytest.mark.parametrize("written", [False, "off", "False", "no", "OFF"])
def test_off_may_be_written_as_yaml_reads_it(written: Any) -> None:
    plan = make_plan(declaration(settings={"llm_tls": written}))
    assert (plan["address"]["tls"], plan["address"]["scheme"], plan["address"]["ca"]) == ("off", "http", False)


def test_the_plan_says_where_the_gateway_is() -> None:
    plan = make_plan(declaration(settings={"llm_bind_address": "192.168.1.10"}))
    assert {name: plan["address"][name] for name in ("scheme", "host", "port", "bind", "ca")} == {
        "scheme": "https",
        "host": "192.168.1.10",
        "port": 4000,
        "bind": "192.168.1.10",
        "ca": True,
    }


def test_acme_needs_the_port_of_the_challenge_too() -> None:
    acme = {"llm_tls": "acme", "llm_bind_address": "0.0.0.0", "llm_hosts": ["llm.example.org"], "llm_port": 443}
    ports = make_plan(declaration(settings=acme))["ports"]
    assert [(port["port"], port["variable"]) for port in ports] == [(443, "llm_port"), (80, "llm_tls")]
    assert [port["port"] for port in make_plan(declaration())["ports"]] == [4000]


@pytest.mark.parametrize("tls", ["internal", "files"])
def test_every_address_of_the_box_is_no_host(tls: str) -> None:
    found = problems("localhost", tls=tls, bind_address="0.0.0.0")
    assert found[0] == (
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
    found = problems(tls_email="me@example.org", tls_certificate="/c.pem", tls_key="/k.pem")
    assert [line.split(": ")[1] for line in found] == ["llm_tls_email", "llm_tls_certificate", "llm_tls_key"]
    assert all("has no effect with llm_tls: internal" in line for line in found)


def test_own_files_must_be_there(tmp_path: Path) -> None:
    found = problems(tls="files", tls_certificate=str(tmp_path / "none.pem"))
    assert [line.split(": ", 2)[1:] for line in found] == [
        [
            "llm_tls_certificate",
            f"there is no file {tmp_path}/none.pem on this machine. Write where the file lies, or put it there.",
        ],
        ["llm_tls_key", "is empty, but llm_tls: files needs it. Write llm_tls_key: ~/tls/key.pem."],
    ]


def test_own_files_must_be_a_certificate_and_its_key(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = map(str, pair)
    assert problems(tls="files", tls_certificate=certificate, tls_key=key) == []
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*make, "-out", other], check=True, capture_output=True)
    subprocess.run([*make, "-aes256", "-pass", "pass:x", "-out", locked], check=True, capture_output=True)
    (found,) = problems(tls="files", tls_certificate=certificate, tls_key=str(other))
    assert f"llm_tls_key: {other} is not the key of {certificate}" in found
    for wrong in (str(locked), certificate):
        (found,) = problems(tls="files", tls_certificate=certificate, tls_key=wrong)
        assert "are not a certificate in PEM and its key without a password" in found


def test_one_wrong_setting_is_reported_once() -> None:
    wrong = {"llm_tls": "letsencrypt", "llm_bind_address": "0.0.0.0", "llm_tls_email": "x"}
    found = [str(problem) for problem in check(declaration(settings=wrong))]
    assert [line.split(": ")[1] for line in found] == ["llm_tls", "llm_tls_email"]


def test_the_folder_of_the_authority_is_not_one_that_is_swept() -> None:
    (found,) = check(declaration(settings={"llm_deploy_dir": "/srv/ingress", "llm_data_dir": "/srv"}))
    assert str(found).startswith("group_vars/all/gateway.yml: llm_data_dir: /srv/ingress and /srv/ingress/redis")
