"""What the role docker does follows from what is there; an engine that runs is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils.box.todo import docker_todo, pull_problems
from tests.unit.box_samples import box, docker, no_docker, stopped_docker

WANTED = {"install": True, "network": "llm-gateway", "images": ["redis:8"], "log_max_size": "10m", "log_max_file": 3}


def test_nothing_is_left_to_do_on_a_box_that_has_it_all() -> None:
    todo = docker_todo(box(), WANTED)
    assert todo == {
        "problems": [],
        "install": None,
        "log_rotation": False,
        "start": False,
        "create_network": False,
        "pull": [],
        "unseen": [],
    }


def test_a_bare_box_gets_docker_and_its_rotation_first() -> None:
    todo = docker_todo(box(docker=no_docker()), WANTED)
    assert todo["install"] is not None
    assert todo["log_rotation"]
    assert not todo["start"]
    assert todo["unseen"] == [
        "Would install docker.io, docker-cli, docker-compose from the distribution and start Docker",
        "Would create the Docker network llm-gateway",
        "Would pull redis:8",
    ]


def test_an_install_from_dockers_repository_names_it() -> None:
    asked = {"url": "u", "reachable": True, "error": ""}
    todo = docker_todo(box("debian-12", docker=no_docker(), docker_repository=asked), WANTED)
    assert "https://download.docker.com/linux/debian" in todo["unseen"][0]


def test_the_modules_of_the_kernel_are_told_where_docker_needs_them() -> None:
    facts = box("almalinux-10", docker=no_docker())
    facts["os"]["kernel"] = "6.12.0-90.el10.x86_64"
    package = "kernel-modules-extra-6.12.0-90.el10.x86_64"
    assert docker_todo(facts, WANTED)["unseen"][1] == f"Would install {package} from the distribution"


def test_nothing_is_installed_where_it_may_not_be() -> None:
    todo = docker_todo(box(docker=no_docker()), {**WANTED, "install": False})
    assert todo["install"] is None
    assert len(todo["problems"]) == 1


def test_an_allowed_system_with_docker_missing_gives_one_problem_and_no_plan() -> None:
    todo = docker_todo(box("arch", docker=no_docker()), WANTED)
    assert todo["install"] is None
    assert len(todo["problems"]) == 1


def test_a_stopped_engine_is_started() -> None:
    todo = docker_todo(box(docker=stopped_docker()), WANTED)
    assert todo["start"]
    assert not todo["create_network"]
    assert todo["pull"] == []


@pytest.mark.parametrize(("state", "start"), [("active", True), ("missing", False)])
def test_a_running_engine_is_enabled_only_where_it_has_a_service(state: str, start: bool) -> None:
    service = {"state": state, "enabled": False, "log_flags": False}
    assert docker_todo(box(docker=docker(service=service)), WANTED)["start"] == start


def test_what_is_missing_in_a_running_engine_is_brought() -> None:
    todo = docker_todo(box(docker=docker(network_exists=False, images_missing=["redis:8"])), WANTED)
    assert todo["create_network"]
    assert todo["pull"] == ["redis:8"]
    assert todo["unseen"] == ["Would create the Docker network llm-gateway", "Would pull redis:8"]


@pytest.mark.parametrize(
    ("log", "flags", "rotate"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"log-driver": "journald"}, False, False),
        ({"log-opts": {"max-size": "1g"}}, False, True),
        ({"log-driver": "local", "log-opts": {"max-size": "1g", "max-file": "1"}}, False, False),
    ],
)
def test_rotation_is_added_only_where_docker_would_take_it(log: dict[str, Any], flags: bool, rotate: bool) -> None:
    facts = docker(
        daemon_config={"path": "/etc/docker/daemon.json", "error": "", "log": log},
        service={"state": "active", "enabled": True, "log_flags": flags},
    )
    assert docker_todo(box(docker=facts), WANTED)["log_rotation"] == rotate


def test_an_unreadable_daemon_json_stops_everything() -> None:
    broken = no_docker()
    broken["daemon_config"]["error"] = "daemon.json is not valid JSON"
    todo = docker_todo(box(docker=broken), WANTED)
    assert todo["problems"] == ["daemon.json is not valid JSON"]
    assert todo["install"] is None


def test_a_failed_pull_names_the_image_dockers_words_and_the_file() -> None:
    results: list[dict[str, object]] = [
        {"item": "redis:8", "failed": False},
        {"item": "ollama/ollama:0", "failed": True, "stderr": "line\nError: manifest unknown\n"},
        {"item": "slow:1", "failed": True, "msg": "async task did not complete within the requested time - 3600s"},
    ]
    first, second = pull_problems(results)
    assert "ollama/ollama:0" in first
    assert "Error: manifest unknown" in first
    assert "group_vars/all/images.yml" in first
    assert "did not complete" in second
