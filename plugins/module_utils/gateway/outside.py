"""What another machine sees of the box: which of its ports answer, and what the ingress lets a stranger do."""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from .asking import Gateway, NoAnswer, Route
from .exposure import EVERY_IPV4, holder_of
from .routes import closed_route_failures, stranger_failures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .exposure import Holder

OPEN, REFUSED, SILENT, NO_WAY = "open", "refused", "silent", "no way"
CONNECT_SECONDS = 1.0
POLL_SECONDS = 0.5
# Connections that Ansible opens on this very machine, or into a container on it: its addresses are near, and its own.
NEAR_CONNECTIONS = ("local", "docker", "docker_api", "podman", "buildah", "nsenter", "chroot", "lxc", "lxd", "incus")
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES)

Resolve = Callable[[str], "list[str]"]


@dataclass(frozen=True)
class Box:
    """The box as the one who looks at it from outside knows it.

    Attributes:
        host: name or address by which Ansible reaches it.
        connection: Ansible's connection to it, such as ssh.
        bind: address at which the gateway is published.
        port: the gateway's own TCP port.
        published: every TCP port that the ingress publishes, ``port`` among them.
        tried: TCP ports to try.
        addresses: its own addresses, as it tells them.
        holders: who listens on it, as it tells.
    """

    host: str
    connection: str
    bind: str
    port: int
    published: Sequence[int]
    tried: Sequence[int]
    addresses: Sequence[str] = ()
    holders: Sequence[Holder] = ()

    @property
    def open_to_others(self) -> bool:
        """Whether other machines are to reach the gateway."""
        return not ipaddress.ip_address(self.bind).is_loopback

    def expects(self, address: str, port: int) -> bool:
        """Whether the ingress is to answer at an address and a port."""
        if port not in self.published or not self.open_to_others:
            return False
        return address == self.bind or (self.bind == EVERY_IPV4 and ":" not in address)

    def translated(self, address: str) -> bool:
        """Whether an address is none of the box's own, as where a router or a cloud passes on what comes to it."""
        return bool(self.addresses) and address not in self.addresses and ":" not in address

    def is_door(self, address: str, port: int) -> bool:
        """Whether what answers there is the ingress, also by way of a translated address."""
        passed_on = port in self.published and self.open_to_others and self.translated(address)
        return passed_on or self.expects(address, port)


@dataclass
class View:
    """What one machine saw. ``answering`` holds the addresses with their ports at which something answered."""

    place: str
    addresses: list[str] = field(default_factory=list)
    answering: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def addresses_of(box: Box, place: str, resolve: Resolve) -> tuple[list[str], list[str]]:
    """Return the addresses at which to look for a box, and what is to be said of them.

    A box's own addresses are tried only where it is near: behind a router the same address may be another machine's.
    """
    found = [box.bind] if box.open_to_others and box.bind != EVERY_IPV4 else []
    notes = []
    if box.connection.rpartition(".")[2] in NEAR_CONNECTIONS:
        found += box.addresses
    else:
        try:
            resolved = resolve(box.host)
        except OSError as error:
            notes.append(f"not reachable from {place}: {box.host} is no name known there ({error.strerror or error})")
            resolved = []
        found += resolved
    outer = [address for address in dict.fromkeys(found) if not ipaddress.ip_address(address).is_loopback]
    if not outer and not notes:
        notes.append(f"not reachable from {place}: no address of the box is known but loopback, so nothing was tried")
    return outer, notes


def resolved(host: str) -> list[str]:
    """Return the addresses of a host in both families. Raises OSError for an unknown name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found if "%" not in str(entry[4][0])]


def try_ports(targets: Iterable[tuple[str, int]], timeout: float = CONNECT_SECONDS) -> dict[tuple[str, int], str]:
    """Connect to all of these addresses and ports at once, and return what came of each within ``timeout`` seconds."""
    states: dict[tuple[str, int], str] = {}
    sockets = []
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        try:
            for target in targets:
                sock = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM)
                sockets.append(sock)
                sock.setblocking(False)
                code = sock.connect_ex(target)
                if code == errno.EINPROGRESS:
                    selector.register(sock, selectors.EVENT_WRITE, target)
                else:
                    states[target] = _state(code)
            while selector.get_map() and time.monotonic() < deadline:
                for key, _ in selector.select(max(deadline - time.monotonic(), 0)):
                    selector.unregister(key.fileobj)
                    code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # type: ignore[union-attr]
                    states[key.data] = _state(code)
            for key in list(selector.get_map().values()):
                states[key.data] = SILENT
        finally:
            for sock in sockets:
                sock.close()
    return states


def _state(code: int) -> str:
    if code == 0:
        return OPEN
    if code in _UNREACHABLE:
        return NO_WAY
    return SILENT if code == errno.ETIMEDOUT else REFUSED


def view(box: Box, place: str, url: str, ca_pem: str, ready_timeout: float, resolve: Resolve = resolved) -> View:
    """Look at a box from where this runs.

    Args:
        box: what is known of it.
        place: words for where this runs, such as "the controller".
        url: the gateway's URL.
        ca_pem: certificate of the authority that signed the gateway's; empty for those that the system trusts.
        ready_timeout: seconds to wait until the gateway answers where it is published.
        resolve: gives the addresses of a name.
    """
    addresses, notes = addresses_of(box, place, resolve)
    seen = View(place, addresses, notes=notes)
    deadline = time.monotonic() + ready_timeout
    targets = [(address, port) for address in addresses for port in dict.fromkeys([*box.published, *box.tried])]
    states = try_ports(targets)
    while _starting(box, states) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        states.update(try_ports(target for target in targets if box.expects(*target)))
    for (address, port), state in states.items():
        _judge(box, seen, address, port, state)
    _say_unreached(seen, addresses, states)
    doors = [address for address in addresses if box.is_door(address, box.port)]
    door = next((address for address in doors if states[address, box.port] == OPEN), None)
    _say_closed(box, seen, states, door)
    if door is not None:
        _ask_as_stranger(seen, Gateway(url, "", route=Route(connect_to=door, ca_pem=ca_pem)), deadline)
    return seen


def _starting(box: Box, states: Mapping[tuple[str, int], str]) -> bool:
    return any(
        state == REFUSED and port == box.port and box.expects(address, port)
        for (address, port), state in states.items()
    )


def _judge(box: Box, seen: View, address: str, port: int, state: str) -> None:
    place = _place(address, port)
    if box.expects(address, port):
        if state == OPEN:
            seen.answering.append(place)
        elif state == REFUSED and port == box.port:
            seen.failures.append(
                f"from {seen.place}: nothing answers at {place}, where the gateway is published. Look at: docker logs "
                "llm-gateway-ingress"
            )
        return
    if state != OPEN:
        return
    seen.answering.append(place)
    if box.is_door(address, port):
        seen.notes.append(f"from {seen.place}: {place} is the gateway too, by an address that is none of the box's own")
        return
    holder = holder_of(box.holders, box.bind if box.translated(address) else address, port)
    if holder is None and box.translated(address):
        seen.notes.append(
            f"from {seen.place}: {place} answers, which is none of the box's own addresses; nothing on the box listens "
            "there, so it may be a router or another machine"
        )
    elif holder is None:
        seen.failures.append(
            f"from {seen.place}: {place} answers, and nothing on the box says what listens there. Only the ingress may "
            "answer. Look on the box: sudo ss -ltnp, sudo nft list ruleset"
        )
    elif holder.of_gateway:
        seen.failures.append(
            f"from {seen.place}: {place} answers: {holder.words}. Only the ingress may, where llm_bind_address says "
            f"({box.bind}). Run make apply, which publishes nothing else"
        )
    else:
        seen.notes.append(f"from {seen.place}: {place} answers: {holder.words}, which is not the gateway's")


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _say_closed(box: Box, seen: View, states: Mapping[tuple[str, int], str], door: str | None) -> None:
    """Note where the gateway should answer and says nothing, and that nobody has asked as a stranger."""
    reached = [address for address in seen.addresses if not _all_silent(states, address)]
    expected = {address: states[address, box.port] for address in reached if box.expects(address, box.port)}
    silent = [address for address, state in expected.items() if state in (SILENT, NO_WAY)]
    unasked = "" if door else "; what it lets a stranger do was not looked at from there"
    seen.notes.extend(
        f"from {seen.place}: nothing comes back from {_place(address, box.port)}, where the gateway is published, as "
        f"behind a firewall{unasked}"
        for address in silent
    )
    # What refuses there is a failure, and what cannot be reached at all has a note of its own.
    if door is None and box.open_to_others and reached and not silent and REFUSED not in expected.values():
        seen.notes.append(
            f"from {seen.place}: the gateway does not answer at port {box.port} of {', '.join(reached)}{unasked}"
        )


def _all_silent(states: Mapping[tuple[str, int], str], address: str) -> bool:
    return all(state in (SILENT, NO_WAY) for (tried, _), state in states.items() if tried == address)


def _say_unreached(seen: View, addresses: Sequence[str], states: Mapping[tuple[str, int], str]) -> None:
    for address in addresses:
        found = {state for (tried, _), state in states.items() if tried == address}
        if found == {NO_WAY}:
            seen.notes.append(f"not reachable from {seen.place}: no way leads to {address}")
        elif found and found <= {SILENT, NO_WAY}:
            seen.notes.append(
                f"not reachable from {seen.place}: {address} neither answered nor refused, as behind a firewall that "
                "drops everything, or where no way leads"
            )


def _ask_as_stranger(seen: View, gateway: Gateway, deadline: float) -> None:
    problem = _wait_until_live(gateway, deadline)
    found = [problem] if problem else [*stranger_failures(gateway), *closed_route_failures(gateway)]
    seen.failures.extend(f"from {seen.place}: {failure}" for failure in found)


def _wait_until_live(gateway: Gateway, deadline: float) -> str:
    """Return why the gateway does not answer by then; empty as soon as it does."""
    while True:
        try:
            reply = gateway.ask("GET", "/health/liveliness", key=None)
            problem = "" if reply.status == 200 else f"GET /health/liveliness: status {reply.status}"
        except NoAnswer as error:
            problem = str(error)
        if not problem or time.monotonic() + POLL_SECONDS > deadline:
            return problem
        time.sleep(POLL_SECONDS)
