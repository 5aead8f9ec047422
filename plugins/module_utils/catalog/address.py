"""Under which names clients reach the gateway, and which certificate it shows them."""

from __future__ import annotations

import re
import ssl
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .certificates import read_certificate
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERNAL, ACME, FILES, OFF = "internal", "acme", "files", "off"
TLS_MODES = (INTERNAL, ACME, FILES, OFF)
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - recognised, never bound here
# The box itself asks by these.
LOCAL_HOSTS = ("localhost", "127.0.0.1")
# The challenge of an authority comes to this port of the domain (RFC 8555, 8.3).
CHALLENGE_PORT = 80
# Where a certificate ends sooner than this, it is time to renew it.
SOON = timedelta(days=14)
# Below llm_data_dir, where Caddy keeps its own authority; and below llm_deploy_dir, where the ingress keeps yours.
_CADDYS_CA = "ingress/caddy/pki/authorities/local/root.crt"
_OWN_CA = "ingress/ca.pem"

# RFC 1123, 2.1; a last label of digits alone would be taken for an address.
_NAME = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?!\d+\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
)
# RFC 6761, RFC 6762, RFC 8375, ICANN's resolution of 2024 on .internal; .lan, .home and .corp are common in houses.
_PRIVATE_SUFFIXES = (
    "local",
    "localhost",
    "home.arpa",
    "internal",
    "lan",
    "home",
    "corp",
    "test",
    "example",
    "invalid",
)
_DIFFERENT_MODE = "has no effect with llm_tls: {mode}"


@dataclass(frozen=True)
class Address:
    """Where the gateway is.

    Attributes:
        scheme: https or http.
        host: name or IPv4 address in its URLs.
        port: published TCP port.
        bind: IPv4 address at which the box itself reaches it.
        ca_file: file on the box with the certificate of the authority that signed the gateway's, where clients must be
            told of it; else empty, and the system's authorities are asked.
        fetched_ca_file: the same on the control machine; a relative path is one in the project.
        tls: one of `TLS_MODES`.
        hosts: every name and address by which it may be asked, `host` first.
        default_host: whose certificate a client gets that names none, as clients do that ask an IP address.
        email: for messages of a public authority, or empty.
        certificate: file on the control machine with the certificate chain, or empty.
        key: file on the control machine with its private key, or empty.
        authority: file on the control machine with the certificate of the authority behind it, or empty.
    """

    scheme: str
    host: str
    port: int
    bind: str
    ca_file: str
    fetched_ca_file: str
    tls: str
    hosts: list[str]
    default_host: str
    email: str
    certificate: str
    key: str
    authority: str


def tls_mode(value: Any) -> Any:
    """Return the mode a user means: YAML reads a bare ``off`` as false. Anything else is returned as it is."""
    return OFF if value is False or (isinstance(value, str) and value.lower() in {"false", "no", OFF}) else value


def is_ip(host: str) -> bool:
    """Whether a host is an IPv4 address."""
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only the box itself reaches a host: 127.0.0.0/8 or localhost."""
    return IPv4Address(host).is_loopback if is_ip(host) else host == "localhost"


def is_host(value: Any) -> bool:
    """Whether a value is an IPv4 address or a name of DNS, in small or capital letters."""
    return isinstance(value, str) and (is_ip(value) or _NAME.match(value.lower()) is not None)


def hosts(bind: str, declared: list[str], box: str, box_address: str) -> list[str]:
    """Return every name and address by which the gateway may be asked, the one for URLs first.

    Args:
        bind: IPv4 address at which the gateway is published.
        declared: ``llm_hosts``; when empty, the hosts are found from the rest.
        box: name of the box in the inventory.
        box_address: where Ansible reaches the box, or empty where only its name says so.

    Returns:
        Names in small letters, each once; only the box's own ones where nothing tells how other machines reach it.
    """
    if declared:
        found = [host.lower() for host in declared]
    elif bind == EVERY_ADDRESS:
        found = [host.lower() for host in (box_address or box,) if is_host(host) and not is_loopback(host.lower())]
    else:
        found = [bind]
    if not declared and not is_loopback(bind) and is_host(box) and "." in box:
        found.append(box.lower())
    return list(dict.fromkeys([*found, *LOCAL_HOSTS]))


def address(settings: Mapping[str, Any], box: str, box_address: str) -> Address:
    """Return where the gateway is; ``settings`` are free of mistakes.

    Args:
        settings: the single settings by variable name.
        box: name of the box in the inventory.
        box_address: where Ansible reaches the box, or empty.
    """
    mode, bind = tls_mode(settings["llm_tls"]), settings["llm_bind_address"]
    found = hosts(bind, settings["llm_hosts"], box, box_address)
    if mode in (ACME, FILES) and settings["llm_hosts"]:
        # A certificate from outside does not name the box's own names.
        found = [host for host in found if host not in LOCAL_HOSTS or host in settings["llm_hosts"]]
    return Address(
        scheme="http" if mode == OFF else "https",
        host=found[0],
        port=int(settings["llm_port"]),
        bind="127.0.0.1" if bind == EVERY_ADDRESS else bind,
        **_authority(settings, mode, box),
        tls=mode,
        hosts=found,
        default_host=next(filter(is_ip, found), found[0]),
        email=settings["llm_tls_email"],
        certificate=_expanded(settings["llm_tls_certificate"]),
        key=_expanded(settings["llm_tls_key"]),
    )


def _expanded(path: str) -> str:
    return path and str(Path(path).expanduser())


def _authority(settings: Mapping[str, Any], mode: str, box: str) -> dict[str, str]:
    own = _expanded(settings["llm_tls_ca"])
    if mode == INTERNAL:
        return {
            "ca_file": f"{settings['llm_data_dir']}/{_CADDYS_CA}",
            "fetched_ca_file": f"ca/{box}.crt",
            "authority": "",
        }
    on_box = f"{settings['llm_deploy_dir']}/{_OWN_CA}" if own else ""
    return {"ca_file": on_box, "fetched_ca_file": own, "authority": own}


def address_plan(settings: Mapping[str, Any], box: str, box_address: str) -> dict[str, Any]:
    """Return `address` as plain data."""
    return asdict(address(settings, box, box_address))


def published_ports(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the gateway listens on, for the check that nothing else does."""
    # The gateway that runs already holds its own ports.
    wish = {"address": settings["llm_bind_address"], "project": "llm-gateway-ingress"}
    ports = [{**wish, "port": int(settings["llm_port"]), "variable": "llm_port"}]
    if tls_mode(settings["llm_tls"]) == ACME:
        ports.append({**wish, "port": CHALLENGE_PORT, "variable": "llm_tls"})
    return ports


def address_problems(settings: Mapping[str, Any], box: str, box_address: str) -> list[Problem]:
    """Return what does not go together; each setting by itself is right.

    Args:
        settings: the single settings by variable name.
        box: name of the box in the inventory.
        box_address: where Ansible reaches the box, or empty.
    """
    mode, bind, declared = tls_mode(settings["llm_tls"]), settings["llm_bind_address"], settings["llm_hosts"]
    problems = []
    if (
        not declared
        and mode not in (ACME, FILES)
        and hosts(bind, [], box, box_address)[0] in LOCAL_HOSTS
        and bind == EVERY_ADDRESS
    ):
        problems.append(
            Problem(
                "llm_hosts",
                f"is empty, and with llm_bind_address {bind} nothing else tells at which address clients ask",
                "Write llm_hosts: [192.168.1.10] with the box's address or name in your network",
            )
        )
    if mode == OFF and not is_loopback(bind):
        problems.append(
            Problem(
                "llm_tls",
                f"is off, but llm_bind_address {bind} lets other machines in:"
                " keys and questions would cross the network unencrypted",
                "Write llm_tls: internal, or llm_bind_address: 127.0.0.1",
            )
        )
    if mode == INTERNAL:
        problems += _several_addresses(declared)
    if mode == ACME:
        problems += _acme_problems(settings)
    elif settings["llm_tls_email"]:
        problems.append(
            Problem("llm_tls_email", _DIFFERENT_MODE.format(mode=mode), "Remove it, or write llm_tls: acme")
        )
    return problems + (_file_problems(settings) if mode == FILES else _idle_files(settings, mode))


def _several_addresses(declared: list[str]) -> list[Problem]:
    addresses = [host for host in dict.fromkeys(declared) if is_ip(host)]
    if len(addresses) < 2:
        return []
    # RFC 6066, 3: an IP address may not be sent as the name of the server.
    what = (
        f"holds {' and '.join(addresses)}, but whoever asks an address gets the certificate of {addresses[0]},"
        " since clients do not tell which address they ask"
    )
    return [Problem("llm_hosts", what, "Keep one address, and give names to the others")]


def _acme_problems(settings: Mapping[str, Any]) -> list[Problem]:
    problems = []
    bind, declared = settings["llm_bind_address"], settings["llm_hosts"]
    if is_loopback(bind):
        problems.append(
            Problem(
                "llm_tls",
                f"is acme, but at llm_bind_address {bind} no authority reaches the box to prove the domain",
                "Write llm_bind_address: 0.0.0.0, or llm_tls: internal",
            )
        )
    if int(settings["llm_port"]) == CHALLENGE_PORT:
        problems.append(
            Problem("llm_port", "80 is where the authority proves the domain with llm_tls: acme", "Write llm_port: 443")
        )
    if not declared:
        problems.append(
            Problem("llm_hosts", "is empty, but llm_tls: acme needs a domain", "Write llm_hosts: [llm.your-domain.org]")
        )
    problems += [
        Problem(
            f"llm_hosts[{index}]",
            f"no public authority gives a certificate for '{host}'",
            "Write a domain that the internet resolves to the box, or llm_tls: internal",
        )
        for index, host in enumerate(declared)
        if not _is_public_name(host.lower())
    ]
    return problems


def _is_public_name(host: str) -> bool:
    private = any(host == suffix or host.endswith(f".{suffix}") for suffix in _PRIVATE_SUFFIXES)
    return "." in host and not is_ip(host) and not private


def _idle_files(settings: Mapping[str, Any], mode: str) -> list[Problem]:
    return [
        Problem(name, _DIFFERENT_MODE.format(mode=mode), "Remove it, or write llm_tls: files")
        for name in ("llm_tls_certificate", "llm_tls_key", "llm_tls_ca")
        if settings[name]
    ]


def _file_problems(settings: Mapping[str, Any]) -> list[Problem]:
    paths = {
        name: Path(settings[name]).expanduser() if settings[name] else None
        for name in ("llm_tls_certificate", "llm_tls_key", "llm_tls_ca")
    }
    problems = []
    for name, path in paths.items():
        if name == "llm_tls_ca" and path is None:
            continue
        if path is None:
            example = f"Write {name}: ~/tls/{'key' if name == 'llm_tls_key' else 'fullchain'}.pem"
            problems.append(Problem(name, "is empty, but llm_tls: files needs it", example))
        elif _is_missing(path):
            problems.append(
                Problem(name, f"there is no file {path} on this machine", "Write where the file lies, or put it there")
            )
    certificate, key, authority = paths.values()
    if problems or certificate is None or key is None:
        return problems + ([] if settings["llm_hosts"] else [_no_hosts()])
    problems = _pair_problems(certificate, key)
    if not problems:
        problems = _certificate_problems(certificate, settings["llm_hosts"])
    return problems + (_authority_problems(authority) if authority else [])


def _no_hosts(names: Sequence[str] = ("llm.home.arpa",)) -> Problem:
    what = "is empty, but llm_tls: files has a certificate for certain names alone"
    return Problem("llm_hosts", what, f"Write llm_hosts: [{', '.join(names)}], names by which clients ask")


def _certificate_problems(path: Path, declared: list[str]) -> list[Problem]:
    try:
        found = read_certificate(path)
    except ValueError as error:
        what = f"{path} cannot be read as a certificate ({error})"
        return [Problem("llm_tls_certificate", what, "Write the file as PEM, the certificate before its chain")]
    now = datetime.now(timezone.utc)
    problems = []
    if found.ends <= now:
        what = f"{path} expired on {found.ends:%Y-%m-%d}, so no client would accept it"
        problems.append(Problem("llm_tls_certificate", what, "Renew it"))
    if found.begins > now:
        what = f"{path} is good from {found.begins:%Y-%m-%d %H:%M} UTC only"
        problems.append(Problem("llm_tls_certificate", what, "Wait until then, or set this machine's clock"))
    names = ", ".join(found.names) or "none: its subjectAltName is empty, and clients read nothing else"
    if not declared:
        usable = [name for name in found.names if is_host(name)]
        return [*problems, _no_hosts(usable) if usable else _no_hosts()]
    instead = "Write only names of the certificate, or get one for this name too"
    return problems + [
        Problem(f"llm_hosts[{index}]", f"{path} is no certificate for {host!r}. Its names: {names}", instead)
        for index, host in enumerate(declared)
        if not found.covers(host)
    ]


def _authority_problems(path: Path) -> list[Problem]:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        what = f"{path} holds no certificates in PEM"
        return [Problem("llm_tls_ca", what, "Name the file with the certificate of the authority that signed yours")]
    except OSError as error:
        return [Problem("llm_tls_ca", f"{path} cannot be read: {error.strerror}", "Make it readable")]
    return []


def address_warnings(settings: Mapping[str, Any]) -> list[str]:
    """Return what will stop working soon; ``settings`` are free of mistakes."""
    if tls_mode(settings["llm_tls"]) != FILES:
        return []
    path = Path(settings["llm_tls_certificate"]).expanduser()
    ends = read_certificate(path).ends
    if ends - datetime.now(timezone.utc) > SOON:
        return []
    return [f"llm_tls_certificate: {path} expires on {ends:%Y-%m-%d}; renew it and run make apply before that"]


def _is_missing(path: Path) -> bool:
    try:
        return not path.is_file()
    except PermissionError:
        # There is something, and reading it tells more.
        return False


def _pair_problems(certificate: Path, key: Path) -> list[Problem]:
    try:
        # A password that cannot be typed: on a question for one, the run would stand still.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            what, instead = f"{key} is not the key of {certificate}", "Name the two files that belong together"
        else:
            what = f"{certificate} and {key} are not a certificate in PEM and its key without a password"
            instead = "Write both files as PEM, the certificate with its chain, the key unencrypted"
        return [Problem("llm_tls_key", what, instead)]
    except OSError as error:
        return [
            Problem("llm_tls_key", f"{certificate} or {key} cannot be read: {error.strerror}", "Make both readable")
        ]
    return []
