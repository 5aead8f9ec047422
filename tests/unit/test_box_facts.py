"""The facts are read right: from texts as the kernel, systemd and Docker print them, and from this very machine."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.box import docker as docker_facts
from plugins.module_utils.box.docker import Answer, parse_info, parse_service, read_daemon_config, read_docker
from plugins.module_utils.box.models import read_store, size_models
from plugins.module_utils.box.parallel import run_all
from plugins.module_utils.box.ports import (
    Publication,
    Socket,
    clashes,
    parse_published,
    parse_tcp_table,
    read_ports,
    try_bind,
)
from plugins.module_utils.box.system import (
    parse_memory,
    parse_os_release,
    read_file,
    read_os,
    read_path,
    read_uid,
    runs_systemd,
)
from plugins.module_utils.ollama.registry import NotInRegistry, RegistryUnreachable, UnknownModel
from plugins.modules import box_facts
from tests.doubles.ollama import ModelName, ModelStore, published
from tests.unit.box_samples import docker, os_of, recorded
from tests.unit.gpu_hosts import look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0FA0 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4713 1 0 100 0 0
   1: 0000000000000000FFFF00000100007F:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4714 1 0 100 0 0
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_os_release_is_read_with_and_without_quotes() -> None:
    assert os_of("fedora-42") == {
        "id": "fedora",
        "version_id": "42",
        "codename": "",
        "pretty_name": "Fedora Linux 42 (Server Edition)",
        "arch": "amd64",
        "kernel": "6.1.0-40-amd64",
    }
    assert parse_os_release("# nothing\n", "riscv64", "6.1")["arch"] == "riscv64"


def test_os_release_may_stand_in_usr_lib(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("ID=debian\nVERSION_ID='13'\n")
    found = read_os(tmp_path)
    assert (found["version_id"], found["kernel"]) == ("13", os.uname().release)


def test_a_file_is_read_by_its_owner_its_group_and_everybody(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    owner, group = file.stat().st_uid, file.stat().st_gid

    def readable(mode: int, uid: int) -> bool:
        file.chmod(mode)
        return read_file(str(file), uid)["readable"]

    assert readable(0o644, 74087)
    assert not readable(0o640, 74087)
    assert readable(0o600, owner)
    assert readable(0o040, group)
    assert read_file(str(tmp_path), 74087)["state"] == "other"
    assert read_file(str(tmp_path / "none"), 74087) == {
        "path": str(tmp_path / "none"),
        "state": "missing",
        "readable": False,
    }


def test_memory_and_init_system(tmp_path: Path) -> None:
    assert parse_memory("MemTotal:       2048 kB\nMemFree: 1 kB\n") == 2048 * 1024
    assert not runs_systemd(tmp_path)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert runs_systemd(tmp_path)


def test_room_is_told_of_the_nearest_directory(tmp_path: Path) -> None:
    room = read_path(str(tmp_path / "not/there/yet"))
    assert room["path"] == str(tmp_path / "not/there/yet")
    assert 0 < room["free_bytes"] <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize


def test_a_number_is_told_with_who_has_it() -> None:
    assert read_uid(0) == {"uid": 0, "account": "root", "group": "root", "strangers": []}
    for nobody in (2**31 - 7, -5, 2**40):
        assert read_uid(nobody) == {"uid": nobody, "account": "", "group": "", "strangers": []}


def test_packages_are_asked_of_rpm() -> None:
    asked: list[list[str]] = []

    def run(command: Sequence[str]) -> Answer:
        asked.append(list(command))
        return Answer(0 if command[-1] == "runc" else 1, "", "")

    assert docker_facts.installed_rpms(run, ("runc", "other")) == ["runc"]
    assert asked[0] == ["rpm", "--query", "--quiet", "runc"]
    assert docker_facts.installed_rpms(lambda _: Answer(127, "", "no rpm"), ("runc",)) == []


def test_docker_info_of_a_running_and_of_a_stopped_engine() -> None:
    content = recorded("debian-12")
    running = parse_info(Answer(0, json.dumps(content["docker_info_running"]), ""))
    assert (running.running, running.engine_version) == (True, "20.10.24+dfsg1")
    assert (running.compose_version, running.edition, running.error) == ("", "distribution", "")
    stopped = parse_info(Answer(1, json.dumps(content["docker_info_stopped"]), content["docker_info_stopped_stderr"]))
    assert not stopped.running
    assert stopped.error.startswith("Cannot connect to the Docker daemon")


def test_docker_info_tells_compose_edition_errors_and_podman() -> None:
    client = {
        "Version": "29.0.1",
        "Platform": {"Name": "Docker Engine - Community"},
        "Plugins": [{"Name": "buildx", "Version": "v0.30"}, {"Name": "compose", "Version": "v2.40.3"}],
    }
    info = parse_info(Answer(0, json.dumps({"ServerVersion": "29.0.1", "ClientInfo": client}), ""))
    assert (info.compose_version, info.edition) == ("v2.40.3", "community")
    denied = parse_info(Answer(1, json.dumps({"ServerErrors": ["permission denied"], "ClientInfo": client}), ""))
    assert (denied.running, denied.error) == (False, "permission denied")
    assert parse_info(Answer(0, json.dumps({"host": {}, "version": {}}), "")).kind == "podman"
    assert parse_info(Answer(124, "", "`docker info` gave no answer within 10 s")).error.endswith("within 10 s")


@pytest.mark.parametrize(
    ("out", "state", "enabled", "flags"),
    [
        ("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=7\nExecStart=x\n", "active", True, True),
        ("LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\nMainPID=0\n", "inactive", False, False),
        ("LoadState=not-found\nActiveState=inactive\nUnitFileState=\nMainPID=0\n", "missing", False, False),
        ("LoadState=masked\nActiveState=inactive\nUnitFileState=masked\nMainPID=0\n", "masked", False, False),
        ("LoadState=loaded\nActiveState=failed\nExecStart={ dockerd --log-driver=x }\n", "failed", False, True),
    ],
)
def test_the_service_is_read(out: str, state: str, enabled: bool, flags: bool) -> None:
    command_lines = {"7": "dockerd --log-opt max-size=1m"}
    service = parse_service(Answer(0, out, ""), lambda pid: command_lines.get(pid, ""))
    assert service == {"state": state, "enabled": enabled, "log_flags": flags}


def test_a_machine_without_systemd_has_no_service() -> None:
    assert parse_service(Answer(1, "", "not booted with systemd"), lambda _: "")["state"] == "missing"


def fake_docker(monkeypatch: pytest.MonkeyPatch, info: dict[str, Any] | None) -> docker_facts.Runner:
    """A box whose docker command knows one network and one image, and publishes one port."""
    monkeypatch.setattr(
        docker_facts, "find_command", lambda name: f"/usr/bin/{name}" if info is not None or name != "docker" else ""
    )

    def run(command: Sequence[str]) -> Answer:
        if command[0] == "systemctl":
            return Answer(0, "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n", "")
        if command[1] == "info":
            return Answer(0, json.dumps(info), "")
        if command[1] == "ps":
            assert "--filter=publish=4000" in command
            return Answer(0, "litellm-1\tlitellm\t127.0.0.1:4000->4000/tcp\n", "")
        return Answer(0 if command[-1] in ("redis:8", "llm-gateway") else 1, "", "No such thing")

    return run


def test_network_images_and_ports_are_asked_of_a_running_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    info = {"ServerVersion": "28.0.0", "ClientInfo": {"Version": "28.0.0", "Plugins": []}}
    run = fake_docker(monkeypatch, info)
    facts, published = read_docker(run, "llm-gateway", ["redis:8", "other:1"], [4000], 5)
    assert facts["network_exists"] is True
    assert facts["images_missing"] == ["other:1"]
    assert published == [Publication("127.0.0.1", 4000, 4000, "litellm-1", "litellm")]
    assert read_docker(run, "nobody", [], [], 5)[0]["network_exists"] is False
    assert read_docker(run, "", [], [], 5)[0]["network_exists"] is None


def test_a_stopped_engine_leaves_network_and_images_open(monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_docker(monkeypatch, {"ServerVersion": "", "ClientInfo": {"Plugins": []}})
    facts, published = read_docker(run, "llm-gateway", ["redis:8"], [4000], 5)
    assert (facts["network_exists"], facts["images_missing"], published) == (None, None, [])


def test_a_box_without_the_docker_command(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, _ = read_docker(fake_docker(monkeypatch, None), "n", ["i"], [4000], 5)
    assert (facts["client"], facts["kind"], facts["running"]) == (False, "none", False)


def test_a_command_that_hangs_or_is_missing_gives_an_answer_all_the_same() -> None:
    run = docker_facts.command_runner(0.2)
    assert "gave no answer within 0.2 s" in run(["sleep", "5"]).err
    assert run(["there-is-no-such-command"]).code == 127


def test_daemon_json_tells_its_logging_part_alone(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    assert read_daemon_config(str(path)) == {"error": "", "log": {}}
    path.write_text('{"log-driver": "local", "proxies": {"http-proxy": "http://a:b@c"}}')
    assert read_daemon_config(str(path))["log"] == {"log-driver": "local"}
    path.write_text("{")
    assert str(path) in read_daemon_config(str(path))["error"]
    path.write_bytes(b"\xff")
    assert "cannot be read" in read_daemon_config(str(path))["error"]


def test_listening_sockets_are_read_from_the_kernels_tables() -> None:
    assert parse_tcp_table(TCP) == [Socket("127.0.0.1", 4000, "4711")]
    assert parse_tcp_table(TCP6) == [Socket("::", 8080, "4713"), Socket("127.0.0.1", 22, "4714")]


def test_published_ports_are_read_in_every_form_docker_prints() -> None:
    text = "a\tp\t0.0.0.0:4000->4000/tcp, [::]:4000->4000/tcp, 6379/tcp\n"
    text += "b\t\t:::8000-8002->80-82/tcp, 1.2.3.4:53->53/udp\n"
    assert parse_published(text) == [
        Publication("0.0.0.0", 4000, 4000, "a", "p"),
        Publication("::", 4000, 4000, "a", "p"),
        Publication("::", 8000, 8002, "b", ""),
    ]


@pytest.mark.parametrize(
    ("listening", "wanted", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "::", True),
        ("::1", "127.0.0.1", False),
        ("0.0.0.0", "::1", False),
        ("10.0.0.1", "127.0.0.1", False),
    ],
)
def test_which_addresses_clash(listening: str, wanted: str, expected: bool) -> None:
    assert clashes(listening, wanted) == expected


def test_a_port_this_process_listens_on_is_taken_by_it(listener: socket.socket) -> None:
    number = listener.getsockname()[1]
    taken, free = read_ports([("127.0.0.1", number), ("127.0.0.2", number)], [])
    assert taken["state"] == "taken"
    assert [entry["pid"] for entry in taken["holders"]] == [os.getpid()]
    assert taken["holders"][0]["process"]
    assert (free["state"], free["holders"]) == ("free", [])


def test_a_port_docker_publishes_without_a_socket_is_taken_by_the_container() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    (found,) = read_ports([("127.0.0.1", number)], [Publication("0.0.0.0", number, number, "web", "shop")])
    assert found["state"] == "taken"
    assert (found["holders"][0]["container"], found["holders"][0]["project"]) == ("web", "shop")


def test_dockers_proxy_is_told_as_its_container(listener: socket.socket, tmp_path: Path) -> None:
    number = listener.getsockname()[1]
    inode = os.fstat(listener.fileno()).st_ino
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP.replace("0FA0", f"{number:04X}").replace("4711", str(inode)))
    for pid, name in (("5", "dockerd"), ("9", "docker-proxy")):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "fd/3").symlink_to(f"socket:[{inode}]")
        (tmp_path / pid / "comm").write_text(f"{name}\n")
    published = [Publication("127.0.0.1", number, number, "web", "shop")]
    (found,) = read_ports([("127.0.0.1", number)], published, tmp_path)
    assert found["holders"] == [
        {"address": "127.0.0.1", "pid": 9, "process": "docker-proxy", "container": "web", "project": "shop"}
    ]


def test_an_address_of_another_box_and_a_text_that_is_none() -> None:
    assert try_bind("192.0.2.1", 4000)[0] == "no_address"
    first, second = read_ports([("localhost", 4000), ("127.0.0.1", 70000)], [])
    assert (first["state"], second["state"]) == ("invalid", "invalid")


def test_calls_run_side_by_side_and_a_slow_one_does_not_hold_up_the_rest() -> None:
    release = threading.Event()
    begun = time.monotonic()
    outcomes = run_all({"quick": lambda: 1, "slow": release.wait, "broken": lambda: int("x")}, 0.2)
    release.set()
    assert time.monotonic() - begun < 2
    assert outcomes["quick"].value == 1
    assert isinstance(outcomes["slow"].error, TimeoutError)
    assert isinstance(outcomes["broken"].error, ValueError)


A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def layers_of(name: str) -> dict[str, int]:
    if name == "typo":
        raise UnknownModel("no such model")
    if name == "silent":
        raise RegistryUnreachable("timed out")
    if name == "hf.co/x/y":
        raise NotInRegistry("another registry")
    return {"one": {A: 1000, B: 10}, "two": {A: 1000}}[name]


def test_shared_layers_count_once_and_what_is_there_is_not_needed_again(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / ("sha256-" + "b" * 64)).write_bytes(b"0123456789")
    sizes = size_models(["one", "two", "typo", "silent", "hf.co/x/y"], layers_of, read_path(str(tmp_path)), 5)
    assert sizes["missing_bytes"] == 1000
    assert {item["name"]: item["state"] for item in sizes["items"]} == {
        "one": "known",
        "two": "known",
        "typo": "unknown",
        "silent": "unreachable",
        "hf.co/x/y": "elsewhere",
    }
    assert [item["missing_bytes"] for item in sizes["items"][:2]] == [1000, 1000]


def test_a_partial_layer_counts_by_what_is_really_on_the_disk(tmp_path: Path) -> None:
    partial = tmp_path / ("sha256-" + "a" * 64 + "-partial")
    with partial.open("wb") as file:
        file.truncate(10**9)
    store = read_store(tmp_path)
    assert store.held[A] < 10**6
    assert store.complete == frozenset()


def hold(root: Path, manifest: str, layers: dict[str, int], *blobs: str) -> None:
    """Lay a model out below ``root`` as Ollama does, with the blobs that are there."""
    file = root / "models/manifests" / manifest
    file.parent.mkdir(parents=True)
    first, *others = [{"digest": digest, "size": size} for digest, size in layers.items()]
    file.write_text(json.dumps({"layers": others, "config": first}))
    (root / "models/blobs").mkdir(exist_ok=True)
    for blob in blobs:
        (root / "models/blobs" / blob.replace(":", "-")).write_bytes(b"weights")


def test_a_model_on_the_box_is_not_asked_for(tmp_path: Path) -> None:
    hold(tmp_path, "registry.ollama.ai/library/typo/2B", {A: 1000, B: 10}, A, B)
    hold(tmp_path, "hf.co/x/y/latest", {A: 1000}, A)
    sizes = size_models(["Typo:2b", "hf.co/x/y"], lambda _: layers_of("typo"), read_path(str(tmp_path)), 5)
    assert sizes["missing_bytes"] == 0
    assert sizes["items"] == [
        {"name": "Typo:2b", "state": "held", "bytes": 1010, "missing_bytes": 0, "detail": ""},
        {"name": "hf.co/x/y", "state": "held", "bytes": 1000, "missing_bytes": 0, "detail": ""},
    ]


@pytest.mark.parametrize("blobs", [(A,), (A, B + "-partial"), (A, B + "-partial-0")])
def test_a_model_that_lacks_a_layer_is_asked_for(tmp_path: Path, blobs: tuple[str, ...]) -> None:
    hold(tmp_path, "registry.ollama.ai/library/typo/latest", {A: 1000, B: 10}, *blobs)
    (item,) = size_models(["typo"], layers_of, read_path(str(tmp_path)), 5)["items"]
    assert item["state"] == "unknown"


@pytest.mark.parametrize("text", ["", "[]", '{"layers": [1], "config": {}}'])
def test_a_broken_manifest_holds_no_model(tmp_path: Path, text: str) -> None:
    hold(tmp_path, "registry.ollama.ai/library/typo/latest", {A: 1000}, A)
    (tmp_path / "models/manifests/registry.ollama.ai/library/typo/latest").write_text(text)
    (item,) = size_models(["typo"], layers_of, read_path(str(tmp_path)), 5)["items"]
    assert item["state"] == "unknown"


def test_the_stand_in_holds_models_as_ollama_does(tmp_path: Path) -> None:
    name = ModelName.parse("smollm2:135m")
    held = published(name)
    assert held is not None
    store = ModelStore(tmp_path / "models")
    for layer in held.layers:
        store.finish_download(layer)
    store.write_manifest(name, held.manifest)
    (item,) = size_models(["smollm2:135m"], layers_of, read_path(str(tmp_path)), 5)["items"]
    assert (item["state"], item["bytes"]) == ("held", held.size)


def test_a_defect_in_asking_is_not_taken_for_an_answer() -> None:
    with pytest.raises(KeyError):
        size_models(["neither"], layers_of, None, 5)


class Registry(BaseHTTPRequestHandler):
    """A registry that has one model."""

    def do_GET(self) -> None:
        known = self.path == "/v2/library/tiny/manifests/latest"
        body = json.dumps({"config": {"digest": A, "size": 5}, "layers": [{"digest": B, "size": 7}]}).encode()
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(body if known else b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run_module(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module as Ansible does and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        box_facts.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_module_collects_everything_from_this_machine(
    capsys: pytest.CaptureFixture[str], registry: str, listener: socket.socket, tmp_path: Path
) -> None:
    number = listener.getsockname()[1]
    result = run_module(
        capsys,
        ports=[{"address": "127.0.0.1", "port": number, "variable": "llm_port"}],
        uids=[{"uid": 0, "variable": "ollama_uid"}],
        models=["tiny", "typo"],
        models_dir=str(tmp_path / "models"),
        ollama_registry=registry,
        _ansible_check_mode=True,
    )
    found = result["box"]
    assert not result["changed"]
    assert found["ports"][0]["holders"][0]["pid"] == os.getpid()
    assert [item["state"] for item in found["models"]["items"]] == ["known", "unknown"]
    assert found["models"]["missing_bytes"] == 12
    assert found["uids"] == [{"uid": 0, "account": "root", "group": "root", "strangers": []}]
    assert isinstance(found["curl"], bool)
    assert isinstance(found["rpms_in_the_way"], list)
    assert found["memory_bytes"] > 0
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("engine", "mode"), [("26.1.5", "nvidia"), ("24.0.7", "cpu")])
def test_gpus_are_looked_for_when_asked_and_judged_by_the_engine_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, mode: str
) -> None:
    facts = look("NVIDIA, ready", tmp_path)
    monkeypatch.setattr(box_facts, "gpu_facts", lambda *_: facts)
    monkeypatch.setattr(box_facts, "read_docker", lambda *_: (docker(engine_version=engine), []))
    assert run_module(capsys)["box"]["gpu"] is None
    found = run_module(capsys, gpu="auto")["box"]["gpu"]
    assert found["verdict"]["mode"] == mode
    assert (engine in found["verdict"]["reason"]) == (mode == "cpu")


def test_the_module_refuses_a_port_without_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(capsys, ports=[{"address": "127.0.0.1"}])
    assert result["failed"]
    assert "needs an address and a port" in result["msg"]


def test_files_of_another_owner_in_a_users_folder_are_found(tmp_path: Path) -> None:
    for name in ("models", "id_ed25519", "lost+found"):
        (tmp_path / name).mkdir()
    own = tmp_path.stat().st_uid
    assert read_uid(own, str(tmp_path))["strangers"] == []
    assert read_uid(own + 1, str(tmp_path))["strangers"] == ["id_ed25519", "models"]
    assert read_uid(own + 1, str(tmp_path / "missing"))["strangers"] == []


def test_the_module_tells_of_files_and_refuses_one_without_a_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.gguf"
    file.touch(mode=0o644)
    for entry, says in (
        ({"path": str(file), "uid": 74087}, '"state": "file"'),
        ({"path": str(file)}, "files: each entry"),
    ):
        with patch_module_args({"files": [entry]}), pytest.raises(SystemExit):
            box_facts.main()
        assert says in capsys.readouterr().out


def test_the_module_refuses_a_uid_without_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_module(capsys, uids=[{"variable": "ollama_uid"}])
    assert result["failed"]
    assert "needs a uid" in result["msg"]


def test_dockers_repository_is_asked_only_where_docker_would_come_from_it(
    monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    missing: Any = {"client": False, "engine": False}
    there: Any = {"client": True, "engine": True}
    monkeypatch.setattr("plugins.module_utils.box.install._DOCKER_URL", registry)
    assert box_facts.ask_repository(os_of("debian-12"), there, 5) is None
    assert box_facts.ask_repository(os_of("debian-13"), missing, 5) is None
    assert box_facts.ask_repository(os_of("arch"), missing, 5) is None
    asked = box_facts.ask_repository(os_of("debian-12"), missing, 5)
    assert asked is not None
    assert not asked["reachable"]
    assert asked["url"] == f"{registry}/debian/dists/bookworm/Release"
    assert "404" in asked["error"]
