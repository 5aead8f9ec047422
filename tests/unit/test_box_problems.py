"""Everything in the way is told at once, each with the place and what to do; what is in order is not mentioned."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils.box.problems import box_problems, box_warnings, docker_problems
from plugins.module_utils.ollama.names import InvalidName, parse
from tests.unit.box_samples import (
    GIB,
    box,
    docker,
    holder,
    model,
    models,
    no_docker,
    port,
    stopped_docker,
)

OURS = {"address": "127.0.0.1", "port": 4000, "variable": "llm_port", "project": "litellm"}


def wanted(**changes: Any) -> dict[str, Any]:
    return {"docker_install": True, "allow_unsupported_os": False, "ports": [OURS], "uids": [], **changes}


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("system", ["debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04", "rocky-9", "rhel-9"])
def test_a_box_in_order_has_no_problem(system: str) -> None:
    assert box_problems(box(system), wanted()) == []
    assert box_warnings(box(system), wanted()) == []


@pytest.mark.parametrize("system", ["debian-12", "debian-13", "ubuntu-22.04", "almalinux-10", "fedora-42"])
def test_a_bare_box_has_no_problem_where_docker_can_be_installed(system: str) -> None:
    asked = {"url": "https://download.docker.com/x", "reachable": True, "error": ""}
    assert box_problems(box(system, docker=no_docker(), docker_repository=asked), wanted()) == []


def test_all_problems_come_at_once() -> None:
    facts = box(
        "alpine-3.22",
        systemd=False,
        docker=no_docker(),
        ports=[port(holders=[holder()])],
        models=models([model("qwen3.5:2b", 3 * GIB), model("qwne", state="unknown")], free=GIB),
    )
    facts["os"]["arch"] = "riscv64"
    problems = box_problems(facts, wanted())
    expected = ["Alpine", "riscv64", "systemd", "Docker is missing", "4000", "qwne", "Too little disk"]
    assert len(problems) == len(expected)
    for word, problem in zip(expected, problems, strict=True):
        assert word in problem


@pytest.mark.parametrize("system", ["alpine-3.22", "arch", "opensuse-leap-15.6"])
def test_a_system_outside_the_list_is_refused_unless_allowed(system: str) -> None:
    problem = only(box_problems(box(system), wanted()))
    assert "Debian 12 and 13" in problem
    assert "preflight_allow_unsupported_os: true" in problem
    allowed = wanted(allow_unsupported_os=True)
    assert box_problems(box(system), allowed) == []
    assert "going on" in only(box_warnings(box(system), allowed))


def test_an_allowed_system_still_needs_a_docker_that_nobody_can_install() -> None:
    problem = only(box_problems(box("arch", docker=no_docker()), wanted(allow_unsupported_os=True)))
    assert "Install Docker Engine with Compose v2 yourself" in problem


def test_no_docker_and_no_leave_to_install_it() -> None:
    problem = only(box_problems(box(docker=no_docker()), wanted(docker_install=False)))
    assert "docker_install: true" in problem


def test_dockers_repository_out_of_reach_is_named_with_the_way_out() -> None:
    url = "https://download.docker.com/linux/debian/dists/bookworm/Release"
    asked = {"url": url, "reachable": False, "error": "timed out"}
    problem = only(box_problems(box("debian-12", docker=no_docker(), docker_repository=asked), wanted()))
    assert url in problem
    assert "timed out" in problem
    assert "https_proxy" in problem
    assert "yourself" in problem


def test_a_package_that_keeps_docker_out_is_named_with_the_command_that_removes_it() -> None:
    facts = box("rocky-9", docker=no_docker(), rpms_in_the_way=["runc"])
    assert "`dnf remove runc`" in only(box_problems(facts, wanted()))
    assert box_problems(box("rocky-9", rpms_in_the_way=["runc"]), wanted()) == []
    assert box_problems(box("debian-13", docker=no_docker(), rpms_in_the_way=["runc"]), wanted()) == []


def test_half_a_docker_counts_as_a_missing_one() -> None:
    client_only = docker(engine=False, running=False)
    assert "docker_install" in only(docker_problems(box(docker=client_only), install=False))
    assert docker_problems(box(docker=client_only), install=True) == []


@pytest.mark.parametrize(
    ("system", "edition", "advice"),
    [
        ("debian-13", "distribution", "`apt-get install docker-compose`"),
        ("ubuntu-24.04", "distribution", "`apt-get install docker-compose-v2`"),
        ("ubuntu-22.04", "community", "`apt-get install docker-compose-plugin`"),
        ("rocky-9", "", "`dnf install docker-compose-plugin`"),
        ("debian-12", "distribution", "`apt-get remove docker.io`"),
        ("arch", "distribution", "https://docs.docker.com/compose/install/linux/"),
    ],
)
def test_docker_without_compose_v2_says_what_to_install(system: str, edition: str, advice: str) -> None:
    facts = box(system, docker=docker(compose_version="", edition=edition))
    assert advice in only(docker_problems(facts, install=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compose_version": "v2.17.3"}, ["2.17.3", "2.18.0"]),
        ({"engine_version": "19.03.15"}, ["19.03.15", "20.10.0"]),
        ({"kind": "podman"}, ["podman-docker"]),
        ({"kind": "snap"}, ["snap remove docker"]),
    ],
)
def test_a_docker_that_does_not_do(changes: dict[str, Any], words: list[str]) -> None:
    problem = only(docker_problems(box(docker=docker(**changes)), install=True))
    for word in words:
        assert word in problem


@pytest.mark.parametrize("version", ["2.18.0", "v2.40.3", "5.0.0", "2.26.1-4", "dev"])
def test_a_compose_that_does(version: str) -> None:
    assert docker_problems(box(docker=docker(compose_version=version)), install=True) == []


def test_a_stopped_engine_is_no_problem_for_systemd_starts_it() -> None:
    facts = box(docker=stopped_docker("inactive"))
    assert box_problems(facts, wanted()) == []
    assert "starts it" in only(box_warnings(facts, wanted()))


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("failed", "journalctl -u docker"),
        ("active", "Cannot connect"),
        ("masked", "systemctl unmask"),
        ("missing", "no service docker.service"),
        ("activating", "activating"),
    ],
)
def test_an_engine_that_cannot_just_be_started_is_a_problem(state: str, word: str) -> None:
    assert word in only(box_problems(box(docker=stopped_docker(state)), wanted()))


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ([holder()], ["nginx (pid 812)"]),
        ([holder(container="grafana", project="watch", pid=0)], ["the container grafana of the Compose project watch"]),
        ([holder(container="hand-made", pid=0)], ["the container hand-made."]),
        ([holder(pid=0, process="")], ["could not be identified"]),
        ([], ["ss -ltnp 'sport = :4000'"]),
    ],
)
def test_a_taken_port_names_its_holder_and_the_variable_to_change(who: list[Any], words: list[str]) -> None:
    problem = only(box_problems(box(ports=[port(holders=who)]), wanted()))
    for word in [*words, "127.0.0.1:4000", "llm_port", "group_vars/all/gateway.yml"]:
        assert word in problem


def test_a_port_that_our_own_project_holds_is_ours() -> None:
    own = holder(container="litellm-1", project="litellm")
    assert box_problems(box(ports=[port(holders=[own])]), wanted()) == []
    assert "nginx" in only(box_problems(box(ports=[port(holders=[own, holder()])]), wanted()))


def test_without_a_project_no_container_is_ours() -> None:
    nobody = {key: value for key, value in OURS.items() if key != "project"}
    facts = box(ports=[port(holders=[holder(container="c", project="")])])
    assert "container c" in only(box_problems(facts, wanted(ports=[nobody])))


def test_an_address_that_the_box_lacks() -> None:
    problem = only(box_problems(box(ports=[port("no_address", "Cannot assign requested address")]), wanted()))
    assert "no address 127.0.0.1" in problem
    assert "llm_bind_address (the inventory)" in problem
    assert "group_vars" not in problem


def test_an_address_or_port_that_cannot_be_used_names_the_place_of_each() -> None:
    problem = only(box_problems(box(ports=[port("invalid", "no IP address")]), wanted()))
    assert "llm_bind_address (the inventory) or llm_port (group_vars/all/gateway.yml)" in problem


def test_the_caller_names_the_file_and_variables() -> None:
    mine = {**OURS, "file": "port.yml", "address_variable": "my_address", "address_file": "address.yml"}
    problem = only(box_problems(box(ports=[port("invalid", "no IP address")]), wanted(ports=[mine])))
    assert "my_address (address.yml) or llm_port (port.yml)" in problem


def test_too_little_disk_tells_need_room_and_models() -> None:
    facts = box(models=models([model("big:70b", 40 * GIB), model("small", GIB, missing=0)], free=30 * GIB))
    problem = only(box_problems(facts, wanted()))
    for word in [
        "40.0 GiB",
        "4.0 GiB",
        "30.0 GiB",
        "14.0 GiB",
        "big:70b",
        "/var/lib/llm-gateway/ollama",
        "llm_models_dir",
    ]:
        assert word in problem
    assert "small" not in problem


@pytest.mark.parametrize(("free", "refused"), [(12 * GIB - 1, True), (12 * GIB, False)])
def test_two_gib_stay_free_beside_small_models(free: int, refused: bool) -> None:
    facts = box(models=models([model("m", 10 * GIB)], free=free))
    assert bool(box_problems(facts, wanted())) == refused


def test_models_that_are_there_need_no_room() -> None:
    assert box_problems(box(models=models([model("m", 40 * GIB, missing=0)], free=0)), wanted()) == []


def test_a_model_that_the_registry_does_not_know() -> None:
    problem = only(box_problems(box(models=models([model("qwne3.5:2b", state="unknown")], free=GIB)), wanted()))
    assert "qwne3.5:2b" in problem
    assert "group_vars/all/models.yml" in problem


def test_a_text_that_is_no_model_name() -> None:
    with pytest.raises(InvalidName) as refusal:
        parse("qwen 3:2b")
    bad = model("qwen 3:2b", state="invalid", detail=str(refusal.value))
    problem = only(box_problems(box(models=models([bad], free=GIB)), wanted()))
    assert problem.count("'qwen 3:2b' is not a model name") == 1
    assert "group_vars/all/models.yml" in problem


@pytest.mark.parametrize(
    ("account", "group", "words"),
    [
        ("jane", "", "the account jane of"),
        ("", "lab", "the group lab of"),
        ("a", "b", "the account a and the group b of"),
    ],
)
def test_a_number_that_somebody_has_names_who_and_the_variable_to_change(account: str, group: str, words: str) -> None:
    wish = {"uid": 74011, "variable": "ollama_uid"}
    facts = box(uids=[{"uid": 74011, "account": account, "group": group, "strangers": []}])
    problem = only(box_problems(facts, wanted(uids=[wish])))
    assert "74011 (ollama_uid)" in problem
    assert words in problem
    assert "Set ollama_uid in group_vars/all/gateway.yml" in problem


def test_every_variable_with_the_same_taken_number_is_named() -> None:
    wishes = [{"uid": "7", "variable": "ollama_uid"}, {"uid": 7, "variable": "redis_uid"}, {"uid": 8, "variable": "x"}]
    taken = {"uid": 7, "account": "jane", "group": "", "strangers": []}
    free = {"uid": 8, "account": "", "group": "", "strangers": []}
    problems = box_problems(box(uids=[taken, taken, free]), wanted(uids=wishes))
    assert ["ollama_uid" in problems[0], "redis_uid" in problems[1], len(problems)] == [True, True, 2]


def test_a_box_without_curl_is_told_why_it_helps() -> None:
    facts = box(curl=False)
    assert box_problems(facts, wanted()) == []
    assert "install curl to try the receipt's command" in only(box_warnings(facts, wanted()))


def test_a_silent_registry_warns_and_does_not_stop() -> None:
    facts = box(models=models([model("m", state="unreachable", detail="timed out.")], free=GIB))
    assert box_problems(facts, wanted()) == []
    assert "sizes of m are not known" in only(box_warnings(facts, wanted()))


def test_a_model_of_another_registry_warns() -> None:
    facts = box(models=models([model("hf.co/a/b", state="elsewhere")], free=GIB))
    assert "hf.co/a/b" in only(box_warnings(facts, wanted()))


@pytest.mark.parametrize(
    ("state", "readable", "says"),
    [
        (
            "missing",
            False,
            "The box has no file /srv/coder.gguf. Copy it there, or correct llm_llamacpp[coder].path (providers.yml).",
        ),
        (
            "other",
            True,
            "/srv/coder.gguf on the box is no file. Name the file itself in llm_llamacpp[coder].path (providers.yml).",
        ),
        (
            "file",
            False,
            (
                "/srv/coder.gguf (llm_llamacpp[coder].path) cannot be read by 74087, the user of the container. "
                "Run on the box: chmod a+r /srv/coder.gguf"
            ),
        ),
        ("file", True, ""),
    ],
)
def test_a_file_that_a_container_cannot_read_is_told_with_the_way_out(state: str, readable: bool, says: str) -> None:
    wish = {"path": "/srv/coder.gguf", "uid": 74087, "variable": "llm_llamacpp[coder].path", "file": "providers.yml"}
    files = [{"path": "/srv/coder.gguf", "state": state, "readable": readable}]
    assert box_problems(box(files=files), wanted(files=[wish])) == ([says] if says else [])


def test_a_folder_with_files_of_another_owner_is_named_with_the_way_out() -> None:
    wish = {"uid": 74011, "variable": "ollama_uid", "folder": "/mnt/models", "folder_variable": "llm_models_dir"}
    facts = box(uids=[{"uid": 74011, "account": "", "group": "", "strangers": ["blobs", "manifests"]}])
    problem = only(box_problems(facts, wanted(uids=[wish])))
    assert "/mnt/models holds files of another owner (blobs, manifests)" in problem
    assert "llm_models_dir (group_vars/all/gateway.yml)" in problem
    assert "chown -R 74011:74011 /mnt/models" in problem
