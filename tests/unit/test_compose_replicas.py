"""Replicas are replaced without a moment in which none answers: what is started, waited for, stopped and renamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugins.module_utils.compose import replicas
from plugins.module_utils.compose.definition import BESIDE, RELOAD, compose_definition, files_digest

PARTICULAR = {"image": "i", "user": "1:1", "healthcheck": {"test": ["CMD", "true"]}, "mem_limit": "1g", "pids_limit": 9}
"""What every container must have."""
NETWORK = "llm-gateway"


class Engine:
    """Stands for Docker and Compose: holds containers, and does what the commands say."""

    def __init__(self, services: dict[str, str]) -> None:
        self.services = services
        self.containers: list[dict[str, Any]] = []
        self.commands: list[str] = []
        self.started_as: dict[str, Any] = {}

    def add(self, service: str, name: str, status: str = "running", **more: Any) -> None:
        number = len(self.containers) + 1
        self.containers.append(
            {
                "id": f"{number:02}" * 32,
                "service": service,
                "name": name,
                "status": status,
                "restarts": 0,
                "exit": 0,
                **more,
            }
        )

    def names(self) -> list[str]:
        return [container["name"] for container in self.containers]

    def run(self, command: list[str]) -> str:
        self.commands.append(" ".join(command))
        words = command[1:]
        if words[:2] == ["compose", "config"]:
            services = {service: {"container_name": name} for service, name in self.services.items()}
            return json.dumps({"name": "llm-gateway-litellm", "services": services})
        if words[0] == "ps":
            return "\n".join(container["id"] for container in self.containers)
        if words[0] == "inspect":
            return json.dumps([self._inspected(container) for container in self.containers])
        if words[0] == "rename":
            self._find(words[1])["name"] = words[2]
        elif words[:2] == ["compose", "--progress"]:
            for service in words[words.index("--no-deps") + 1 :]:
                assert self.services[service] not in self.names(), "the name is taken"
                self.add(service, self.services[service], **self.started_as)
        elif words[0] == "rm":
            self.containers = [container for container in self.containers if container["id"] not in words]
        else:
            assert words[0] == "stop"
            for identity in words[1:]:
                self._find(identity)["status"] = "exited"
        return ""

    def _find(self, identity: str) -> dict[str, Any]:
        return next(container for container in self.containers if container["id"] == identity)

    def _inspected(self, container: dict[str, Any]) -> dict[str, Any]:
        return {
            "Id": container["id"],
            "Name": "/" + container["name"],
            "RestartCount": container["restarts"],
            "Config": {"Labels": {replicas.SERVICE_LABEL: container["service"]}},
            "State": {"Status": container["status"], "ExitCode": container["exit"]},
            "NetworkSettings": {"Networks": {NETWORK: {"IPAddress": f"10.0.0.{int(container['id'][:2])}"}}},
        }


@pytest.fixture
def engine() -> Engine:
    """Two old replicas run, and the Compose file holds two new ones."""
    engine = Engine({"litellm-1-new": "gw-litellm-1", "litellm-2-new": "gw-litellm-2"})
    engine.add("litellm-1-old", "gw-litellm-1")
    engine.add("litellm-2-old", "gw-litellm-2")
    return engine


def roll(engine: Engine) -> replicas.Replicas:
    return replicas.Replicas(engine.run, NETWORK)


def test_new_ones_start_beside_the_old_ones_and_take_their_names(engine: Engine) -> None:
    project = roll(engine)
    new = replicas.missing(project.project, project.look())
    assert new == ["litellm-1-new", "litellm-2-new"]
    project.start(new)
    assert engine.names() == ["gw-litellm-1-01010101", "gw-litellm-2-02020202", "gw-litellm-1", "gw-litellm-2"]
    assert [container["status"] for container in engine.containers] == ["running"] * 4
    assert list(project.wait(new, lambda _: True, 1)) == new
    assert sorted(project.retire()) == ["gw-litellm-1-01010101", "gw-litellm-2-02020202"]
    assert engine.names() == ["gw-litellm-1", "gw-litellm-2"]


def test_replaced_ones_are_told_to_stop_before_they_are_removed_and_together(engine: Engine) -> None:
    project = roll(engine)
    project.start(["litellm-1-new", "litellm-2-new"])
    engine.commands.clear()
    project.retire()
    acted = [command.split()[1] for command in engine.commands if command.split()[1] in {"stop", "rm", "kill"}]
    assert acted == ["stop", "rm"]
    assert "-t" not in next(command for command in engine.commands if command.startswith("docker stop"))


def test_a_roll_that_is_taken_back_leaves_the_old_ones_as_they_were(engine: Engine) -> None:
    project = roll(engine)
    project.start(["litellm-1-new", "litellm-2-new"])
    engine.services = {"litellm-1-old": "gw-litellm-1", "litellm-2-old": "gw-litellm-2"}
    back = roll(engine)
    assert replicas.missing(back.project, back.look()) == []
    back.retire()
    assert [(container["service"], container["name"], container["id"][:2]) for container in engine.containers] == [
        ("litellm-1-old", "gw-litellm-1", "01"),
        ("litellm-2-old", "gw-litellm-2", "02"),
    ]


def test_nothing_is_done_where_everything_runs() -> None:
    engine = Engine({"litellm-1-same": "gw-litellm-1"})
    engine.add("litellm-1-same", "gw-litellm-1")
    project = roll(engine)
    assert replicas.missing(project.project, project.look()) == []
    assert project.retire() == []
    assert {command.split()[1] for command in engine.commands} <= {"compose", "ps", "inspect"}


@pytest.mark.parametrize("state", [{"status": "exited"}, {"status": "restarting"}, {"status": "created"}])
def test_one_that_does_not_run_counts_as_missing(state: dict[str, Any]) -> None:
    engine = Engine({"litellm-1-same": "gw-litellm-1"})
    engine.add("litellm-1-same", "gw-litellm-1", **state)
    project = roll(engine)
    assert replicas.missing(project.project, project.look()) == ["litellm-1-same"]


def test_a_new_one_that_ends_is_noticed_at_once(engine: Engine) -> None:
    engine.started_as = {"status": "restarting", "restarts": 1, "exit": 3}
    project = roll(engine)
    project.start(["litellm-1-new"])
    with pytest.raises(replicas.RollFailed, match="gw-litellm-1 ended while it was starting; its exit status was 3"):
        project.wait(["litellm-1-new"], lambda _: False, 60)


def test_one_that_was_started_again_long_ago_is_as_good_as_any(engine: Engine) -> None:
    engine.services = {"litellm-1-old": "gw-litellm-1", "litellm-2-old": "gw-litellm-2"}
    engine.containers[0]["restarts"] = 1
    project = roll(engine)
    assert replicas.missing(project.project, project.look()) == []
    assert list(project.wait(["litellm-1-old"], lambda _: True, 1)) == ["litellm-1-old"]


def test_a_new_one_that_is_never_ready_is_given_up(engine: Engine) -> None:
    project = roll(engine)
    project.start(["litellm-1-new"])
    with pytest.raises(replicas.RollFailed, match="gw-litellm-1 was not ready within"):
        project.wait(["litellm-1-new"], lambda _: False, 0.2)


def test_each_is_asked_at_its_own_address(engine: Engine) -> None:
    project = roll(engine)
    project.start(["litellm-1-new", "litellm-2-new"])
    asked = set()
    project.wait(["litellm-1-new", "litellm-2-new"], lambda address: not asked.add(address), 1)  # type: ignore[func-returns-value]
    assert asked == {"10.0.0.3", "10.0.0.4"}


def test_too_little_memory_is_said_with_both_figures() -> None:
    problem = replicas.memory_problem(450, 2, "MemTotal: 4000000 kB\nMemAvailable: 500000 kB\n")
    assert "2 new containers need 900 MB" in problem
    assert "has 512 MB left" in problem
    assert "litellm_replicas: 1" in problem
    assert "litellm_replicas" not in replicas.memory_problem(450, 1, "MemAvailable: 100000 kB\n")
    assert replicas.memory_problem(450, 1, "MemAvailable: 500000 kB\n") == ""


def define(content: str, image: str = "i") -> dict[str, Any]:
    digest = files_digest({"config/a": {"content": content}}, {})
    services: dict[str, Any] = compose_definition(
        {"litellm-1": {**PARTICULAR, "image": image}}, "p", "n", digest, BESIDE
    )["services"]
    return services


def test_the_name_of_a_service_changes_with_all_it_is_made_of() -> None:
    first = define("a")
    assert list(first) == list(define("a"))
    assert len({*define("a"), *define("b"), *define("a", image="j")}) == 3
    service = next(iter(first.values()))
    assert (service["container_name"], service["networks"]) == (
        "llm-gateway-litellm-1",
        {"n": {"aliases": ["litellm-1"]}},
    )


def test_a_file_that_no_container_reads_makes_no_new_container() -> None:
    one, two = ({"config/a": {"content": "a"}, "questions.json": {"content": text}} for text in ("[]", "[1]"))
    assert files_digest(one, {}) == files_digest(two, {})


def test_a_container_that_reloads_is_not_made_anew_for_a_file() -> None:
    one, two = (
        compose_definition({"ingress": PARTICULAR}, "p", "n", files_digest({"config/a": {"content": text}}, {}), RELOAD)
        for text in ("a", "b")
    )
    assert one == two
