"""What the box lets out, and what other machines see of it."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.box.docker import Answer
from plugins.module_utils.box.ports import Socket
from plugins.module_utils.catalog.settings import SERVICES
from plugins.module_utils.gateway import exposure, outside
from plugins.module_utils.gateway.exposure import Holder, Publication
from plugins.modules import gateway_exposure, gateway_outside
from tests.unit.gateway_stand_in import StandIn, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BIND = "192.168.1.10"


def container(
    name: str, bindings: dict[str, list[dict[str, str]]], project: str | None = None, **host_config: Any
) -> dict[str, Any]:
    """What ``docker inspect`` prints of a container, as far as it is read."""
    label = (
        f"llm-gateway-{name.split('-')[2]}" if project is None and name.startswith("llm-gateway-") else project or ""
    )
    return {
        "Name": f"/{name}",
        "Config": {"Labels": {"com.docker.compose.project": label} if label else None},
        "HostConfig": {"PortBindings": bindings, **host_config},
        "NetworkSettings": {"Ports": {**dict.fromkeys(bindings or {}), "9/tcp": None}},
    }


def bound(port: int, address: str, inner: str = "8080/tcp") -> dict[str, list[dict[str, str]]]:
    return {inner: [{"HostIp": address, "HostPort": str(port)}]}


INGRESS = container("llm-gateway-ingress", bound(4000, BIND))
REDIS = container("llm-gateway-redis", {})


def failures(*containers: dict[str, Any], bind: str = BIND) -> list[str]:
    return exposure.publication_failures(exposure.publications(containers), bind, [4000])


def test_the_ingress_at_its_address_is_right() -> None:
    assert failures(INGRESS, REDIS) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            container("llm-gateway-ingress", bound(4000, "0.0.0.0")),
            ["llm-gateway-ingress publishes 0.0.0.0:4000/tcp, but llm_bind_address is 192.168.1.10. Run make apply"],
        ),
        (
            container("llm-gateway-ingress", bound(4000, "")),
            ["publishes 0.0.0.0:4000/tcp, but llm_bind_address", "publishes [::]:4000/tcp, but llm_bind_address"],
        ),
        (container("llm-gateway-ingress", bound(2019, BIND)), ["2019/tcp, but the gateway's are 4000/tcp."]),
        (
            container("llm-gateway-ingress", bound(4000, BIND, "8080/udp")),
            ["4000/udp, but the gateway's are 4000/tcp."],
        ),
        (
            container("llm-gateway-redis", bound(6379, "127.0.0.1")),
            ["container llm-gateway-redis publishes 127.0.0.1:6379/tcp, though only the ingress may publish a port."],
        ),
    ],
)
def test_every_other_port_of_the_gateway_is_named(found: dict[str, Any], says: list[str]) -> None:
    reported = failures(found)
    assert len(reported) == len(says)
    for failure, expected in zip(reported, says, strict=True):
        assert expected in failure


def test_a_port_that_docker_chose_is_found_in_what_it_has_made() -> None:
    found = container("llm-gateway-ollama", {"11434/tcp": [{"HostIp": "", "HostPort": ""}]})
    found["NetworkSettings"]["Ports"] = {"11434/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}
    (failure,) = failures(found)
    assert "llm-gateway-ollama publishes 0.0.0.0:32768/tcp" in failure


def test_the_users_own_containers_are_the_users() -> None:
    assert failures(container("llm-gateway-dashboard", bound(3000, "0.0.0.0"), "llm-gateway-dashboard")) == []
    assert failures(container("nextcloud", bound(80, "0.0.0.0"), "cloud")) == []


def test_every_ipv4_address_does_not_mean_ipv6() -> None:
    assert failures(container("llm-gateway-ingress", bound(4000, "0.0.0.0")), bind="0.0.0.0") == []
    (failure,) = failures(container("llm-gateway-ingress", bound(4000, "::")), bind="0.0.0.0")
    assert "[::]:4000/tcp" in failure


def test_a_container_in_the_boxs_own_network_has_no_wall() -> None:
    found = container("llm-gateway-litellm-1", {}, NetworkMode="host")
    mine = container("llm-gateway-exporter", {}, "monitoring", NetworkMode="host")
    (failure,) = exposure.own_network_failures([found, mine])
    assert failure.startswith("container llm-gateway-litellm-1 runs in the box's own network")


def test_listeners_of_docker_need_a_container() -> None:
    sockets = [Socket(BIND, 4000, "1"), Socket("0.0.0.0", 5000, "2"), Socket("::", 22, "3"), Socket("::", 2375, "4")]
    processes = {"1": (10, "docker-proxy"), "2": (11, "docker-proxy"), "3": (12, "sshd"), "4": (13, "dockerd")}
    published = exposure.publications([INGRESS])
    first, second = exposure.listener_failures(sockets, processes, published)
    assert first.startswith("Docker listens at 0.0.0.0:5000 (docker-proxy, process 11) for no container")
    assert "restart docker" not in first
    assert second.startswith("Docker takes orders at [::]:2375 without a password")
    assert exposure.listener_failures([Socket("127.0.0.1", 2375, "4")], processes, published) == []


def test_who_holds_a_port_is_the_container_before_the_process() -> None:
    sockets = [Socket(BIND, 4000, "1"), Socket("0.0.0.0", 8080, "2"), Socket("127.0.0.1", 9090, "3")]
    processes = {"1": (10, "docker-proxy"), "2": (11, "jenkins"), "3": (12, "prometheus")}
    known = exposure.holders(sockets, processes, exposure.publications([INGRESS]))
    assert exposure.holder_of(known, BIND, 4000) == Holder(BIND, 4000, "container llm-gateway-ingress", of_gateway=True)
    assert exposure.holder_of(known, BIND, 8080) == Holder("0.0.0.0", 8080, "process jenkins (11)", of_gateway=False)
    assert exposure.holder_of(known, BIND, 9090) is None


def docker(*containers: dict[str, Any]) -> Any:
    """A runner in whose Docker there are these containers."""

    def run(command: Sequence[str]) -> Answer:
        if command[1] == "ps":
            return Answer(0, "\n".join(str(number) for number in range(len(containers))), "")
        return Answer(0, json.dumps(containers), "")

    return run


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """The kernel's tables, with a docker-proxy behind the second socket."""
    net = tmp_path / "net"
    net.mkdir()
    row = "   0: {address}:{port:04X} 00000000:0000 0A 0 0 0 0 0 {inode}\n"
    rows = [row.format(address="0A01A8C0", port=22, inode=1), row.format(address="0A01A8C0", port=4000, inode=2)]
    (net / "tcp").write_text("head\n" + "".join(rows))
    (net / "if_inet6").write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "20010db8000000000000000000000010 02 40 00 80     eth0\n"
        "fe800000000000000000000000000010 02 40 20 80     eth0\n"
        "fd000000000000000000000000000001 03 40 00 80  docker0\n"
    )
    process = tmp_path / "77"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("docker-proxy\n")
    (process / "fd" / "4").symlink_to("socket:[2]")
    return tmp_path


@pytest.fixture
def with_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "find_command", lambda _: "docker")


@pytest.mark.usefixtures("with_docker")
def test_a_look_at_a_box(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [("lo", "127.0.0.1"), ("eth0", BIND), ("docker0", "172.17.0.1"), ("br-0123456789ab", "172.18.0.1")]
    monkeypatch.setattr(exposure, "_ipv4_addresses", lambda: addresses)
    monkeypatch.setattr(exposure, "SETTLE_SECONDS", 0.0)
    found = exposure.look(docker(INGRESS, container("llm-gateway-redis", bound(6380, BIND))), BIND, [4000], proc)
    assert len(found.failures) == 1
    assert found.addresses == [BIND, "2001:db8::10"]
    assert found.ports[:3] == [4000, 6380, 6379]
    assert len(found.ports) <= exposure.MOST_PORTS
    assert 22 not in found.ports


@pytest.mark.usefixtures("with_docker")
def test_a_container_that_starts_or_stops_meanwhile_is_no_failure(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    looks = iter([docker(REDIS), docker(REDIS, INGRESS)])
    current = {"run": docker()}

    def run(command: Sequence[str]) -> Answer:
        if command[1] == "ps":
            current["run"] = next(looks)
        answer: Answer = current["run"](command)
        return answer

    assert exposure.look(run, BIND, [4000], proc).failures == []
    assert waited == [1.0]
    # What is still there after that is one; what is right is looked at once.
    (failure,) = exposure.look(docker(REDIS), BIND, [4000], proc).failures
    assert failure.startswith(f"Docker listens at {BIND}:4000 (docker-proxy, process 77) for no container")
    assert exposure.look(docker(INGRESS), BIND, [4000], proc).failures == []
    assert waited == [1.0, 1.0]


def test_this_machine_has_addresses_that_can_be_read() -> None:
    assert ("lo", "127.0.0.1") in exposure._ipv4_addresses()
    assert not [address for address in exposure.own_addresses() if address.startswith(("127.", "fe80"))]


@pytest.mark.usefixtures("with_docker")
def test_a_docker_that_does_not_answer_is_told() -> None:
    with pytest.raises(exposure.NoDocker, match="docker ps failed: Cannot connect"):
        exposure.inspect_all(lambda _: Answer(1, "", "Cannot connect to the Docker daemon\n"))


def box(**changes: Any) -> outside.Box:
    known: dict[str, Any] = {
        "host": "box",
        "connection": "ssh",
        "bind": BIND,
        "port": 4000,
        "published": [4000],
        "tried": [6379],
        **changes,
    }
    return outside.Box(**known)


def unknown(_: str) -> list[str]:
    raise OSError(-2, "Name or service not known")


@pytest.mark.parametrize(
    ("changes", "resolved", "addresses", "notes"),
    [
        ({}, [BIND, "2001:db8::10"], [BIND, "2001:db8::10"], []),
        ({"bind": "127.0.0.1"}, ["203.0.113.9"], ["203.0.113.9"], []),
        # Its own addresses may be another machine's here.
        ({"addresses": ["10.0.0.5"]}, [BIND], [BIND], []),
        (
            {"connection": "community.docker.docker", "bind": "127.0.0.1", "addresses": ["10.0.0.5", "fd00::5"]},
            None,
            ["10.0.0.5", "fd00::5"],
            [],
        ),
        ({"connection": "local", "bind": "0.0.0.0", "addresses": ["10.0.0.5"]}, None, ["10.0.0.5"], []),
        (
            {"bind": "127.0.0.1"},
            None,
            [],
            ["not reachable from here: box is no name known there (Name or service not known)"],
        ),
        (
            {"bind": "127.0.0.1"},
            ["127.0.0.1"],
            [],
            ["not reachable from here: no address of the box is known but loopback, so nothing was tried"],
        ),
    ],
)
def test_where_a_box_is_looked_for(
    changes: dict[str, Any], resolved: list[str] | None, addresses: list[str], notes: list[str]
) -> None:
    resolve = unknown if resolved is None else lambda _: list(resolved)
    assert outside.addresses_of(box(**changes), "here", resolve) == (addresses, notes)


def test_ports_are_tried_at_once_and_told_apart() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server, closing(socket.socket()) as shut:
        shut.bind(("127.0.0.1", 0))
        listening, refusing = ("127.0.0.1", server.getsockname()[1]), ("127.0.0.1", shut.getsockname()[1])
        started = time.monotonic()
        assert outside.try_ports([listening, refusing]) == {listening: outside.OPEN, refusing: outside.REFUSED}
        assert time.monotonic() - started < 0.5


def test_a_port_that_says_nothing_costs_one_time_out_however_many_there_are() -> None:
    # A full queue of connections drops the next ones, as a firewall does.
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        target = server.getsockname()[:2]
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(target)
        started = time.monotonic()
        states = outside.try_ports([target, ("127.0.0.1", 9)], timeout=0.2)
        assert states[target] == outside.SILENT
        assert 0.2 <= time.monotonic() - started < 0.5
        for client in waiting:
            client.close()


def seen(
    states: dict[tuple[str, int], str], known: outside.Box, *, closed: bool = False, door: str | None = None
) -> outside.View:
    view = outside.View("here", sorted({address for address, _ in states}))
    for (address, port), state in states.items():
        outside._judge(known, view, address, port, state)
    outside._say_unreached(view, view.addresses, states)
    if closed:
        outside._say_closed(known, view, states, door)
    return view


def test_only_the_ingress_may_answer() -> None:
    holders = [
        Holder("0.0.0.0", 6379, "container llm-gateway-redis", of_gateway=True),
        Holder("::", 8080, "process jenkins (7)", of_gateway=False),
    ]
    ports = {4000: "open", 6379: "open", 8080: "open", 11434: "open", 9090: "refused"}
    view = seen({(BIND, port): state for port, state in ports.items()}, box(holders=holders))
    assert view.answering == [f"{BIND}:{port}" for port in (4000, 6379, 8080, 11434)]
    published, unknown_one = view.failures
    assert published.startswith(
        f"from here: {BIND}:6379 answers: container llm-gateway-redis. Only the ingress may, where"
    )
    assert unknown_one.startswith(f"from here: {BIND}:11434 answers, and nothing on the box says what listens there.")
    assert view.notes == [f"from here: {BIND}:8080 answers: process jenkins (7), which is not the gateway's"]


def test_a_gateway_at_loopback_answers_nobody() -> None:
    holders = [Holder("0.0.0.0", 4000, "container llm-gateway-ingress", of_gateway=True)]
    view = seen({("10.0.0.5", 4000): "open"}, box(bind="127.0.0.1", holders=holders))
    (failure,) = view.failures
    assert failure.startswith("from here: 10.0.0.5:4000 answers: container llm-gateway-ingress. Only the ingress may")
    assert seen({("10.0.0.5", 4000): "refused"}, box(bind="127.0.0.1")).failures == []


def test_an_address_that_leads_to_the_box_is_the_gateways_and_is_said() -> None:
    holders = [Holder("0.0.0.0", 6379, "container llm-gateway-redis", of_gateway=True)]
    public = "203.0.113.9"
    known = box(addresses=[BIND], holders=holders)
    view = seen({(public, 4000): "open", (public, 6379): "open"}, known)
    assert view.notes == [f"from here: {public}:4000 is the gateway too, by an address that is none of the box's own"]
    assert [failure.split(". ")[0] for failure in view.failures] == [
        f"from here: {public}:6379 answers: container llm-gateway-redis"
    ]
    # What nobody on the box knows of is the router's own.
    routers = seen({(public, 8080): "open"}, known)
    assert routers.failures == []
    (note,) = routers.notes
    assert note == (
        f"from here: {public}:8080 answers, which is none of the box's own addresses; nothing on the box listens "
        "there, so it may be a router or another machine"
    )
    # It need not be open there, and with a gateway at loopback it must not be.
    assert seen({(public, 4000): "refused"}, known).failures == []
    loopback = Holder("127.0.0.1", 4000, "container llm-gateway-ingress", of_gateway=True)
    closed = box(bind="127.0.0.1", addresses=[BIND], holders=[loopback])
    assert len(seen({(public, 4000): "open"}, closed).failures) == 1


def test_a_published_gateway_that_does_not_answer_is_a_failure_where_it_refuses() -> None:
    (failure,) = seen({(BIND, 4000): "refused"}, box()).failures
    assert failure.startswith(f"from here: nothing answers at {BIND}:4000, where the gateway is published.")


UNASKED = "; what it lets a stranger do was not looked at from there"
SILENT_DOOR = f"from here: nothing comes back from {BIND}:4000, where the gateway is published, as behind a firewall"


@pytest.mark.parametrize(
    ("states", "changes", "door", "notes"),
    [
        ({(BIND, 4000): "silent", (BIND, 6379): "refused"}, {}, None, [SILENT_DOOR + UNASKED]),
        # Another address of it answers.
        (
            {(BIND, 4000): "silent", (BIND, 6379): "refused", ("10.0.0.5", 4000): "open"},
            {"bind": "0.0.0.0"},
            "10.0.0.5",
            [SILENT_DOOR],
        ),
        # The router passes nothing on.
        (
            {("203.0.113.9", 4000): "refused"},
            {"addresses": [BIND]},
            None,
            ["from here: the gateway does not answer at port 4000 of 203.0.113.9" + UNASKED],
        ),
        # Said already: as a failure, or as not reachable.
        ({(BIND, 4000): "refused"}, {}, None, []),
        ({(BIND, 4000): "no way"}, {}, None, [f"not reachable from here: no way leads to {BIND}"]),
        ({("10.0.0.5", 4000): "refused"}, {"bind": "127.0.0.1"}, None, []),
    ],
)
def test_a_door_that_is_not_open_is_never_passed_over(
    states: dict[tuple[str, int], str], changes: dict[str, Any], door: str | None, notes: list[str]
) -> None:
    assert seen(states, box(**changes), closed=True, door=door).notes == notes


@pytest.mark.usefixtures("near")
def test_a_look_says_that_it_could_not_ask(gateway: StandIn) -> None:
    with closing(socket.socket()) as shut:
        shut.bind(("127.0.0.1", 0))
        port = shut.getsockname()[1]
        # As where another machine's address leads to it and is not passed on.
        known = box(port=port, published=[port], addresses=[BIND], tried=[gateway.server_port])
        (answers, unasked) = outside.view(known, "here", gateway.url, "", ready_timeout=0).notes
    assert "which is none of the box's own addresses" in answers
    assert unasked == f"from here: the gateway does not answer at port {port} of 127.0.0.1" + UNASKED


def test_what_cannot_be_reached_is_said() -> None:
    view = seen({(BIND, 4000): "silent", ("2001:db8::10", 4000): "no way"}, box())
    assert view.failures == []
    silent, no_way = view.notes
    assert silent.startswith(f"not reachable from here: {BIND} neither answered nor refused, as behind a firewall")
    assert no_way == "not reachable from here: no way leads to 2001:db8::10"


def test_every_ipv4_address_is_the_gateways_with_that_bind() -> None:
    known = box(bind="0.0.0.0")
    assert known.expects("10.0.0.5", 4000)
    assert not known.expects("fd00::5", 4000)
    assert not known.expects("10.0.0.5", 6379)
    assert not box(bind="127.0.0.1").expects("10.0.0.5", 4000)


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    for server in served():
        server.behaviour.ingress = True
        yield server


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback stands for an address that others reach."""
    monkeypatch.setattr(outside, "addresses_of", lambda *_: (["127.0.0.1"], []))


def look_at(gateway: StandIn, **changes: Any) -> outside.View:
    known = box(bind="0.0.0.0", port=gateway.server_port, published=[gateway.server_port], **changes)
    return outside.view(known, "here", gateway.url, "", ready_timeout=1)


@pytest.mark.usefixtures("near")
def test_a_stranger_at_the_door_is_refused(gateway: StandIn) -> None:
    view = look_at(gateway)
    assert view.failures == []
    assert view.answering == [f"127.0.0.1:{gateway.server_port}"]
    assert not [key for _, _, key, _ in gateway.asked if key and not key.startswith("Bearer sk-wrong-")]


@pytest.mark.usefixtures("near")
def test_what_the_door_lets_a_stranger_do_is_told_with_the_place(gateway: StandIn) -> None:
    gateway.behaviour.open_to_all = True
    gateway.behaviour.open_routes += ("/cache/flushall",)
    gateway.behaviour.replies = {"/cache/flushall": (200, "{}")}
    found = look_at(gateway).failures
    assert [failure.split(":")[0] for failure in found] == ["from here"] * 3
    assert "request without a key" in found[0]
    assert "POST /cache/flushall must not be found" in found[2]


@pytest.mark.usefixtures("near")
def test_a_gateway_that_is_starting_is_waited_for(gateway: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "POLL_SECONDS", 0.05)
    gateway.behaviour.starting_until = time.monotonic() + 0.3
    assert look_at(gateway).failures == []
    gateway.behaviour.starting_until = time.monotonic() + 60
    (failure,) = look_at(gateway).failures
    assert failure == "from here: GET /health/liveliness: status 503"


def module_result(capsys: pytest.CaptureFixture[str], module: Any, **options: Any) -> dict[str, Any]:
    with patch_module_args(options), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.mark.usefixtures("with_docker", "near")
def test_what_the_one_module_returns_the_other_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gateway: StandIn, tmp_path: Path
) -> None:
    ingress = container("llm-gateway-ingress", bound(gateway.server_port, "0.0.0.0"))
    monkeypatch.setattr(gateway_exposure, "command_runner", lambda _: docker(ingress))
    monkeypatch.setattr(exposure, "read_sockets", lambda _: [])
    (tmp_path / "root.crt").write_text("# F\u00f6rde\na certificate")
    ports = [gateway.server_port]
    looked = module_result(
        capsys, gateway_exposure, bind_address="0.0.0.0", ports=ports, ca_file=str(tmp_path / "root.crt")
    )
    assert (looked["changed"], looked["failures"], looked["ca_pem"]) == (False, [], "# Frde\na certificate")
    result = module_result(
        capsys,
        gateway_outside,
        host="box",
        url=gateway.url,
        port=gateway.server_port,
        bind_address="0.0.0.0",
        published=ports,
        exposure=looked,
    )
    assert result["changed"] is False
    assert result["view"]["place"] == "the controller"
    assert f"127.0.0.1:{gateway.server_port}" in result["view"]["answering"]


def test_a_publication_knows_whose_it_is() -> None:
    assert Publication("caddy", "llm-gateway-ingress", "::", 1, "tcp").of_gateway
    assert not Publication("ollama", "mine", "::", 1, "tcp").of_gateway
    # Names that only begin like the gateway's.
    assert not Publication("llm-gateway-monitor", "", "::", 1, "tcp").of_gateway
    assert not Publication("llm-gateway-web-1", "llm-gateway-web", "::", 1, "tcp").of_gateway


def test_the_gateways_projects_are_those_that_the_plan_knows() -> None:
    assert {f"llm-gateway-{service}" for service in SERVICES} == exposure.PROJECTS
