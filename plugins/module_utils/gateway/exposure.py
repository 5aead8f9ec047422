"""What Docker lets out of the box: published ports of the gateway's containers, and what really listens."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import json
import re
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..box.docker import find_command
from ..box.ports import clashes, find_processes, read_sockets

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..box.docker import Runner
    from ..box.ports import Socket

PROJECT_LABEL = "com.docker.compose.project"
INGRESS_PROJECT = "llm-gateway-ingress"
# The Compose projects of the gateway. Other containers may have names that begin like theirs.
PROJECTS = frozenset(
    f"llm-gateway-{service}" for service in ("redis", "ollama", "llamacpp", "litellm", "ingress", "drill")
)
# A container that starts or stops meanwhile has a listener before Docker tells of it, or still has one after that.
SETTLE_SECONDS = 1.0
# As Docker writes them.
EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104  compared with, never bound
# Of LiteLLM, Redis, Ollama, the ingress's plain port, its health check, its administration, and metrics.
INNER_PORTS = (4000, 6379, 11434, 8080, 8081, 2019, 9090)
# Docker's interface for programs, without TLS: whoever reaches it is root on the box.
ENGINE_PORT = 2375
MOST_PORTS = 20
# Docker's bridges and the ends of its cables; their addresses mean another machine elsewhere.
_DOCKER_INTERFACE = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|veth.*")
_SIOCGIFCONF = 0x8912  # Linux, include/uapi/linux/sockios.h
_GLOBAL_SCOPE = "00"  # IPV6_ADDR_ANY's scope in /proc/net/if_inet6 (Linux, net/ipv6/addrconf.c)


class NoDocker(Exception):
    """Docker could not be asked. The message is a sentence for the user."""


@dataclass(frozen=True)
class Publication:
    """One port of the box that Docker passes on to a container; ``protocol`` is tcp, udp or sctp."""

    container: str
    project: str
    address: str
    port: int
    protocol: str

    @property
    def of_gateway(self) -> bool:
        """Whether the container is one of the gateway's."""
        return self.project in PROJECTS


@dataclass(frozen=True)
class Holder:
    """Who listens at an address of the box: a container that Docker publishes, or a process of the box's own."""

    address: str
    port: int
    words: str
    of_gateway: bool


@dataclass(frozen=True)
class Exposure:
    """What was found on the box: what is wrong, its addresses, ports worth a try from outside, and who holds them."""

    failures: list[str]
    addresses: list[str]
    ports: list[int]
    holders: list[Holder]


def inspect_all(run: Runner) -> list[Mapping[str, Any]]:
    """Return what Docker tells of all containers, those that do not run too. Raises NoDocker."""
    client = find_command("docker")
    if not client:
        raise NoDocker("docker is not there, so nobody knows what it publishes")
    listed = run([client, "ps", "--all", "--quiet", "--no-trunc"])
    if listed.code != 0:
        raise NoDocker(f"docker ps failed: {listed.err.strip()}")
    names = listed.out.split()
    if not names:
        return []
    # One that has gone since makes it fail, and the others are printed all the same.
    answer = run([client, "inspect", "--type", "container", *names])
    try:
        return list(json.loads(answer.out))
    except ValueError as error:
        raise NoDocker(f"docker inspect failed: {answer.err.strip()}") from error


def publications(inspected: Sequence[Mapping[str, Any]]) -> list[Publication]:
    """Return what the containers publish: what they were told to, and what Docker has made of it."""
    found: dict[Publication, None] = {}
    for container in inspected:
        name = container["Name"].lstrip("/")
        project = _project(container)
        tables = ((container.get("HostConfig") or {}).get("PortBindings"), container["NetworkSettings"].get("Ports"))
        for table in tables:
            for inner, bindings in (table or {}).items():
                for binding in bindings or []:
                    # Without a number Docker chooses one when the container starts; the other table has it then.
                    if binding.get("HostPort"):
                        protocol = inner.partition("/")[2]
                        for address in _bound(binding.get("HostIp", "")):
                            port = int(binding["HostPort"].partition("-")[0])
                            found[Publication(name, project, address, port, protocol)] = None
    return list(found)


def _project(container: Mapping[str, Any]) -> str:
    return str((container["Config"].get("Labels") or {}).get(PROJECT_LABEL, ""))


def _bound(address: str) -> tuple[str, ...]:
    return (address,) if address else (EVERY_IPV4, EVERY_IPV6)


def publication_failures(published: Sequence[Publication], bind: str, ports: Collection[int]) -> list[str]:
    """Return a sentence for each port of the gateway's that is published where it must not be."""
    failures = []
    for item in published:
        if not item.of_gateway:
            continue
        place = f"container {item.container} publishes {_place(item.address, item.port)}/{item.protocol}"
        if item.project != INGRESS_PROJECT:
            failures.append(
                f"{place}, though only the ingress may publish a port. Run make apply, which writes its compose.yml "
                f"anew; if you started it yourself: docker rm -f {item.container}"
            )
        elif item.address != bind:
            failures.append(f"{place}, but llm_bind_address is {bind}. Run make apply, which publishes it there alone")
        elif item.protocol != "tcp" or item.port not in ports:
            wanted = ", ".join(f"{port}/tcp" for port in ports)
            failures.append(f"{place}, but the gateway's are {wanted}. Run make apply, which publishes no other")
    return failures


def own_network_failures(inspected: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each container of the gateway's that shares the box's own network."""
    return [
        f"container {container['Name'].lstrip('/')} runs in the box's own network, so all its ports are open. "
        "Run make apply"
        for container in inspected
        if (container.get("HostConfig") or {}).get("NetworkMode") == "host" and _project(container) in PROJECTS
    ]


def listener_failures(
    sockets: Sequence[Socket], processes: Mapping[str, tuple[int, str]], published: Sequence[Publication]
) -> list[str]:
    """Return what Docker's processes listen for without a container that explains it."""
    failures = []
    known = {(item.address, item.port) for item in published}
    for item in sockets:
        pid, process = processes.get(item.inode, (0, ""))
        place = _place(item.address, item.port)
        if process == "docker-proxy" and (item.address, item.port) not in known:
            failures.append(
                f"Docker listens at {place} (docker-proxy, process {pid}) for no container that it knows of. See which "
                f"address it passes on to: ps -o args= -p {pid}. If no container has that address "
                f"(docker network inspect), end this one process: sudo kill {pid}"
            )
        elif process == "dockerd" and item.port == ENGINE_PORT and not ipaddress.ip_address(item.address).is_loopback:
            failures.append(
                f"Docker takes orders at {place} without a password: whoever reaches it is root on the box. Take "
                "tcp:// out of `hosts` in /etc/docker/daemon.json, or out of the command line of docker.service"
            )
    return failures


def holders(
    sockets: Sequence[Socket], processes: Mapping[str, tuple[int, str]], published: Sequence[Publication]
) -> list[Holder]:
    """Return who listens at which address: containers by what Docker publishes, processes by their sockets."""
    found = [
        Holder(item.address, item.port, f"container {item.container}", item.of_gateway)
        for item in published
        if item.protocol == "tcp"
    ]
    for item in sockets:
        pid, process = processes.get(item.inode, (0, ""))
        if process != "docker-proxy" and not ipaddress.ip_address(item.address).is_loopback:
            words = f"process {process} ({pid})" if process else "the box itself"
            found.append(Holder(item.address, item.port, words, of_gateway=False))
    return found


def look(run: Runner, bind: str, ports: Sequence[int], proc: Path = Path("/proc")) -> Exposure:
    """Return what Docker lets out of this box. What looks wrong is looked at once more, a little later.

    Args:
        run: runs a command on this box.
        bind: the address at which the ingress is to be published.
        ports: the TCP ports that it is to publish.
        proc: where the kernel tells of sockets and addresses.

    Raises:
        NoDocker: Docker could not be asked.
    """
    found = _look_once(run, bind, ports, proc)
    if found.failures:
        time.sleep(SETTLE_SECONDS)
        found = _look_once(run, bind, ports, proc)
    return found


def _look_once(run: Runner, bind: str, ports: Sequence[int], proc: Path) -> Exposure:
    inspected = inspect_all(run)
    published = publications(inspected)
    sockets = read_sockets(proc)
    processes = find_processes((item.inode for item in sockets), proc)
    gateway_ports = [item.port for item in published if item.of_gateway and item.protocol == "tcp"]
    proxied = [item.port for item in sockets if processes.get(item.inode, (0, ""))[1] == "docker-proxy"]
    wanted = list(dict.fromkeys([*ports, *gateway_ports, *INNER_PORTS, ENGINE_PORT, *proxied]))[:MOST_PORTS]
    return Exposure(
        failures=[
            *publication_failures(published, bind, ports),
            *own_network_failures(inspected),
            *listener_failures(sockets, processes, published),
        ],
        addresses=own_addresses(proc),
        ports=wanted,
        holders=[holder for holder in holders(sockets, processes, published) if holder.port in wanted],
    )


def holder_of(known: Sequence[Holder], address: str, port: int) -> Holder | None:
    """Return who answers at an address of the box, one of the gateway's first."""
    matching = [holder for holder in known if holder.port == port and clashes(holder.address, address)]
    return min(matching, key=lambda holder: not holder.of_gateway, default=None)


def own_addresses(proc: Path = Path("/proc")) -> list[str]:
    """Return the addresses of this box that other machines may reach: neither loopback nor link-local nor Docker's."""
    found = [address for name, address in [*_ipv4_addresses(), *_ipv6_addresses(proc)] if not _is_dockers(name)]
    return [address for address in dict.fromkeys(found) if _is_reachable(address)]


def _is_dockers(interface: str) -> bool:
    return _DOCKER_INTERFACE.fullmatch(interface) is not None


def _is_reachable(address: str) -> bool:
    value = ipaddress.ip_address(address)
    return not (value.is_loopback or value.is_link_local or value.is_unspecified)


def _ipv4_addresses() -> list[tuple[str, str]]:
    """Each interface with each of its IPv4 addresses, as the kernel lists them (man 7 netdevice, SIOCGIFCONF)."""
    entry = 40 if struct.calcsize("P") == 8 else 32
    room = array.array("B", bytes(entry * 256))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("iP", len(room), room.buffer_info()[0])
        used = struct.unpack("iP", fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, request))[0]
    raw = room.tobytes()[:used]
    return [
        (
            raw[start : start + 16].split(b"\0")[0].decode().partition(":")[0],
            socket.inet_ntoa(raw[start + 20 : start + 24]),
        )
        for start in range(0, used, entry)
    ]


def _ipv6_addresses(proc: Path) -> list[tuple[str, str]]:
    table = proc / "net/if_inet6"
    if not table.exists():
        return []
    rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()]
    return [(row[5], str(ipaddress.IPv6Address(bytes.fromhex(row[0])))) for row in rows if row[3] == _GLOBAL_SCOPE]


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
