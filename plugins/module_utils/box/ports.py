"""Who listens on which TCP port, from /proc and from what Docker publishes."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .shapes import PortFacts, PortHolder

_LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
_INODE_FIELD = 9
_IPV6 = 6
_DOCKER_PROCESSES = frozenset({"docker-proxy", "dockerd"})
_PUBLISHED = re.compile(r"(?P<address>\S+):(?P<first>\d+)(?:-(?P<last>\d+))?->\S+/tcp")


class Socket(NamedTuple):
    """One listening TCP socket."""

    address: str
    port: int
    inode: str


class Publication(NamedTuple):
    """One range of ports that Docker publishes for a container."""

    address: str
    first: int
    last: int
    container: str
    project: str


def parse_tcp_table(text: str) -> list[Socket]:
    """The listening sockets in the text of /proc/net/tcp or tcp6 (man 5 proc)."""
    sockets = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > _INODE_FIELD and fields[3] == _LISTEN:
            raw, port = fields[1].split(":")
            sockets.append(Socket(_address(raw), int(port, 16), fields[_INODE_FIELD]))
    return sockets


def _address(raw: str) -> str:
    """An address as the kernel prints it: 32-bit words in the machine's byte order."""
    words = [int(raw[start : start + 8], 16) for start in range(0, len(raw), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def parse_published(text: str) -> list[Publication]:
    """Read `docker ps` lines of name, Compose project and ports, separated by tabs."""
    published = []
    for line in text.splitlines():
        container, project, ports = [*line.split("\t"), "", ""][:3]
        for match in _PUBLISHED.finditer(ports):
            address = match["address"].strip("[]")
            first = int(match["first"])
            published.append(Publication(address, first, int(match["last"] or first), container, project))
    return published


def clashes(listening: str, wanted: str) -> bool:
    """Whether a socket on the one address keeps a second one from the other. An IPv6 wildcard takes IPv4 as well."""
    have, want = ipaddress.ip_address(listening), ipaddress.ip_address(wanted)
    if have == want:
        return True
    for wildcard, other in ((have, want), (want, have)):
        if wildcard.is_unspecified and wildcard.version >= other.version:
            return True
    return False


def try_bind(address: str, port: int) -> tuple[str, str]:
    """Ask the kernel whether the port can be had: the state, and the kernel's words when it cannot.

    The socket is bound, never put to listening, and closed at once.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == _IPV6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            state = "taken" if error.errno == errno.EADDRINUSE else "no_address"
            return ("invalid" if error.errno in (errno.EACCES, errno.EPERM) else state), error.strerror or str(error)
    return "free", ""


def read_sockets(proc: Path = Path("/proc")) -> list[Socket]:
    """Every listening TCP socket of this box."""
    sockets = []
    for name in ("net/tcp", "net/tcp6"):
        table = proc / name
        if table.exists():
            sockets += parse_tcp_table(table.read_text(encoding="ascii"))
    return sockets


def _pid(process: Path) -> int:
    return int(process.name)


def _open_files(process: Path) -> list[str]:
    """What the process has open; nothing when it has ended meanwhile or is not ours to look at."""
    try:
        return [_target(entry) for entry in os.scandir(process / "fd")]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _target(descriptor: os.DirEntry[str]) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""  # closed meanwhile; the process's other files still count


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def find_processes(inodes: Iterable[str], proc: Path = Path("/proc")) -> dict[str, tuple[int, str]]:
    """The pid and name of a process that holds each socket inode."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, tuple[int, str]] = {}
    if not wanted:
        return found
    for process in sorted((entry for entry in proc.iterdir() if entry.name.isdigit()), key=_pid):
        name = ""
        for inode in {wanted[link] for link in _open_files(process) if link in wanted}:
            name = name or _name(process)
            # dockerd hands its socket on to docker-proxy, which says more about who holds it.
            if inode not in found or name == "docker-proxy":
                found[inode] = (_pid(process), name)
    return found


def read_ports(
    wanted: Iterable[tuple[str, int]], publications: list[Publication], proc: Path = Path("/proc")
) -> list[PortFacts]:
    """The state of every wanted address and port, and who is in the way."""
    wanted = list(wanted)
    numbers = {port for _, port in wanted}
    sockets = [entry for entry in read_sockets(proc) if entry.port in numbers] if wanted else []
    processes = find_processes((entry.inode for entry in sockets), proc)
    return [_port(address, port, sockets, processes, publications) for address, port in wanted]


def _port(
    address: str,
    port: int,
    sockets: list[Socket],
    processes: dict[str, tuple[int, str]],
    publications: list[Publication],
) -> PortFacts:
    try:
        state, detail = try_bind(address, port)
    except (ValueError, OverflowError) as error:
        return {"address": address, "port": port, "state": "invalid", "detail": str(error), "holders": []}
    holders: list[PortHolder] = [
        {"address": entry.address, "pid": 0, "process": "", "container": entry.container, "project": entry.project}
        for entry in publications
        if entry.first <= port <= entry.last and clashes(entry.address, address)
    ]
    in_docker = bool(holders)
    for entry in sockets:
        if entry.port != port or not clashes(entry.address, address):
            continue
        pid, process = processes.get(entry.inode, (0, ""))
        if not (in_docker and process in _DOCKER_PROCESSES):
            holders.append({"address": entry.address, "pid": pid, "process": process, "container": "", "project": ""})
            continue
        for holder in holders:
            if holder["container"] and holder["address"] == entry.address:
                holder["pid"], holder["process"] = pid, process
    # Docker may publish a port by packet filter alone, without any socket that a bind would meet.
    return {
        "address": address,
        "port": port,
        "state": "taken" if state == "free" and in_docker else state,
        "detail": detail,
        "holders": holders,
    }
