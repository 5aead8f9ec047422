"""The watch over Ollama's GPU: what it finds, what it does about it once, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.compose import definition
from plugins.module_utils.project import files
from roles.ollama.files import gpu_watch
from roles.ollama.files.gpu_watch import Answer

if TYPE_CHECKING:
    from pathlib import Path

CDI = {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]}
ROCM = {"Devices": [{"PathInContainer": "/dev/kfd"}, {"PathInContainer": "/dev/dri/renderD128"}]}
VULKAN = {"Devices": [{"PathInContainer": "/dev/dri/renderD128"}], "DeviceRequests": None}

WORKS = Answer(0, "GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-1)\n")
LOST = Answer(255, "Failed to initialize NVML: Unknown Error\n")
DENIED = Answer(2, "", "sh: 1: cannot open /dev/kfd: Operation not permitted\n")
NOTHING: list[str] = []


def inspected(
    status: str = "running", health: str = "healthy", given: Any = CDI, identity: str = "one", error: str = ""
) -> Answer:
    state = {"Status": status, "Health": {"Status": health}, "Error": error}
    return Answer(0, json.dumps([{"Id": identity, "State": state, "HostConfig": given}]))


class Box:
    """Stands in for Docker: answers each kind of command in the given order, the last answer again and again."""

    def __init__(self, folder: Path, **answers: list[Answer]) -> None:
        self.project, self.state = folder / "ollama", folder / "run"
        self.project.mkdir(exist_ok=True)
        self.answers = {"inspect": [inspected()], "exec": [WORKS], "compose": [Answer(0)], **answers}
        self.commands: list[list[str]] = []
        self.lines: list[dict[str, str]] = []

    def run(self, command: list[str], seconds: float) -> Answer:
        assert 0 < seconds <= gpu_watch.RECREATE_SECONDS
        self.commands.append(command)
        kind = "inspect" if command[1] == "container" else command[1]
        if kind == "compose":
            assert (self.state / gpu_watch.RECREATED).exists(), "whoever is killed here would do it again"
        answers = self.answers[kind]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def look(self) -> tuple[int, list[str]]:
        """Let the watch look once; return its exit status and the events."""
        before = len(self.lines)
        status = gpu_watch.watch(self.run, self.lines.append, self.project, self.state)
        assert all(set(line) == {"event", "mode", "reason", "action"} for line in self.lines)
        return status, [line["event"] for line in self.lines[before:]]

    def recreations(self) -> int:
        return sum(command[1] == "compose" for command in self.commands)

    def remembers(self) -> bool:
        return (self.state / gpu_watch.RECREATED).exists()


def test_a_gpu_that_works_is_worth_no_line(tmp_path: Path) -> None:
    box = Box(tmp_path)
    assert box.look() == (0, NOTHING)
    assert box.recreations() == 0
    assert not box.state.exists()


def test_a_lost_gpu_comes_back_with_a_new_container(tmp_path: Path) -> None:
    box = Box(tmp_path, inspect=[inspected(), inspected(), inspected(identity="two")], exec=[LOST, WORKS])
    assert box.look() == (0, ["gpu_lost", "gpu_recovered"])
    assert box.lines[0] == {
        "event": "gpu_lost",
        "mode": "nvidia",
        "reason": "Failed to initialize NVML: Unknown Error",
        "action": "recreate the container, once",
    }
    assert [command for command in box.commands if command[1] == "compose"] == [
        [
            *("docker", "compose", "--project-directory", str(box.project), "--file", f"{box.project}/compose.yml"),
            *("up", "--detach", "--force-recreate", "--no-deps", "--wait", "--wait-timeout", "180", "ollama"),
        ]
    ]
    assert box.commands[-1][:3] == ["docker", "exec", "two"]
    assert not box.remembers()


def test_a_container_that_docker_could_not_start_at_boot_is_made_anew_once_the_gpu_is_there(tmp_path: Path) -> None:
    error = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all"
    failed = inspected(status="exited", health="unhealthy", error=error)
    box = Box(tmp_path, inspect=[failed, failed, inspected(identity="two")])
    assert box.look() == (0, ["gpu_lost", "gpu_recovered"])
    assert box.lines[0]["reason"] == f"Docker could not start it: {error}"
    stays = Box(tmp_path, inspect=[failed], compose=[Answer(1, "", "the same again")])
    assert stays.look() == (1, ["gpu_lost", "gpu_still_lost"])
    assert stays.look() == (1, ["gpu_still_lost"])
    assert stays.recreations() == 1


def test_a_gpu_that_stays_lost_costs_one_container_and_fails_every_time(tmp_path: Path) -> None:
    box = Box(tmp_path, exec=[LOST])
    assert box.look() == (1, ["gpu_lost", "gpu_still_lost"])
    assert box.look() == (1, ["gpu_still_lost"])
    assert box.look() == (1, ["gpu_still_lost"])
    assert box.recreations() == 1
    assert box.lines[-1]["reason"] == "Failed to initialize NVML: Unknown Error"
    for word in ("nvidia-smi", "reboot", "make apply"):
        assert word in box.lines[-1]["action"]


def test_a_gpu_seen_working_in_between_is_worth_another_container(tmp_path: Path) -> None:
    box = Box(tmp_path, exec=[LOST, LOST, WORKS, LOST, WORKS])
    assert box.look() == (1, ["gpu_lost", "gpu_still_lost"])
    assert box.look() == (0, ["gpu_recovered"])
    assert not box.remembers()
    assert box.look() == (0, ["gpu_lost", "gpu_recovered"])
    assert box.recreations() == 2


def test_what_it_remembers_is_no_matter_of_what_the_file_holds(tmp_path: Path) -> None:
    box = Box(tmp_path, exec=[LOST])
    box.state.mkdir()
    (box.state / gpu_watch.RECREATED).write_bytes(b"\xff\x00{garbage")
    assert box.look() == (1, ["gpu_still_lost"])
    assert box.recreations() == 0


def test_without_a_memory_nothing_is_recreated(tmp_path: Path) -> None:
    box = Box(tmp_path, exec=[LOST])
    box.state.write_text("a file where the folder belongs")
    with pytest.raises(OSError, match="run"):
        box.look()
    assert box.recreations() == 0


NO_CONTAINER = Answer(1, "[]\n", "Error response from daemon: No such container: llm-gateway-ollama\n")
NO_DOCKER = Answer(1, "[]\n", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (NO_CONTAINER, "there is no container llm-gateway-ollama"),
        (inspected(status="exited", health="unhealthy"), "llm-gateway-ollama is exited"),
        (inspected(status="restarting"), "llm-gateway-ollama is restarting"),
        (inspected(health="starting"), "llm-gateway-ollama is starting"),
        (NO_DOCKER, "Docker does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock."),
        (Answer(gpu_watch.TIMED_OUT, error="no answer within 30 s"), "Docker does not answer: no answer within 30 s"),
        (Answer(0, "garbage"), "what Docker tells of llm-gateway-ollama cannot be read"),
        (Answer(0, "[]"), "what Docker tells of llm-gateway-ollama cannot be read"),
        (Answer(0, '[{"Id": 1, "State": "running"}]'), "what Docker tells of llm-gateway-ollama cannot be read"),
        (inspected(given={}), "llm-gateway-ollama was given no GPU"),
    ],
)
def test_what_is_not_its_business_is_said_and_left_alone(tmp_path: Path, found: Answer, reason: str) -> None:
    box = Box(tmp_path, inspect=[found])
    assert box.look() == (0, ["not_checked"])
    assert box.lines[0]["reason"].startswith(reason)
    assert [command[1] for command in box.commands] == ["container"]


def test_a_run_of_the_playbook_is_left_alone(tmp_path: Path) -> None:
    box = Box(tmp_path, exec=[LOST])
    (box.project / files.UNFINISHED).mkdir()
    assert box.look() == (0, ["not_checked"])
    assert "run make apply" in box.lines[0]["reason"]
    assert box.commands == []


@pytest.mark.parametrize(
    "later", [inspected(status="exited"), NO_CONTAINER, NO_DOCKER, inspected(identity="another one")]
)
def test_a_container_that_goes_while_it_is_asked_has_not_lost_its_gpu(tmp_path: Path, later: Answer) -> None:
    box = Box(tmp_path, inspect=[inspected(), later], exec=[Answer(1, "", "container one is not running\n")])
    assert box.look() == (0, ["not_checked"])
    assert box.recreations() == 0
    assert not box.remembers()


def test_a_gpu_answers_for_a_container_that_is_not_healthy_too(tmp_path: Path) -> None:
    box = Box(tmp_path, inspect=[inspected(health="unhealthy")], exec=[LOST, WORKS])
    assert box.look() == (0, ["gpu_lost", "gpu_recovered"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (LOST, "Failed to initialize NVML: Unknown Error"),
        (Answer(0, "No devices found.\n"), "No devices found."),
        (Answer(gpu_watch.TIMED_OUT, error="no answer within 60 s"), "no answer within 60 s"),
        (Answer(124), "nvidia-smi gave no answer within 30 s"),
        (Answer(9), "status 9"),
        (Answer(2, "", "sh: 1: cannot open /dev/nvidiactl: Operation not permitted\n"), "sh: 1: cannot open /dev/nv"),
    ],
)
def test_what_counts_as_lost(tmp_path: Path, answer: Answer, reason: str) -> None:
    box = Box(tmp_path, exec=[answer])
    assert box.look()[0] == 1
    assert box.lines[0]["reason"].startswith(reason)


@pytest.mark.parametrize("status", [gpu_watch.CANNOT_TELL, *gpu_watch.NOT_STARTED])
def test_what_cannot_be_found_out_is_not_called_lost(tmp_path: Path, status: int) -> None:
    box = Box(tmp_path, exec=[Answer(status)])
    assert box.look() == (0, ["not_checked"])
    assert box.recreations() == 0


@pytest.mark.parametrize(
    ("given", "mode", "nodes"),
    [(ROCM, "rocm", ["/dev/kfd", "/dev/dri/renderD128"]), (VULKAN, "vulkan", ["/dev/dri/renderD128"])],
)
def test_each_device_node_of_the_container_is_opened(
    tmp_path: Path, given: dict[str, Any], mode: str, nodes: list[str]
) -> None:
    box = Box(tmp_path, inspect=[inspected(given=given)], exec=[DENIED])
    assert box.look() == (1, ["gpu_lost", "gpu_still_lost"])
    asked = next(command for command in box.commands if command[1] == "exec")
    assert asked == ["docker", "exec", "one", "sh", "-c", gpu_watch.OPEN_NODES, "sh", *nodes]
    assert (box.lines[0]["mode"], box.lines[0]["reason"]) == (mode, DENIED.error.strip())


def test_a_container_that_does_not_become_healthy_is_looked_at_again_and_not_recreated_again(tmp_path: Path) -> None:
    failed = Answer(1, "", " Container llm-gateway-ollama  Waiting\napplication not healthy after 3m0s\n")
    box = Box(
        tmp_path,
        inspect=[inspected(), inspected(), inspected(health="starting"), inspected(identity="two")],
        exec=[LOST, WORKS],
        compose=[failed],
    )
    assert box.look() == (1, ["gpu_lost", "gpu_still_lost"])
    assert box.lines[-1]["reason"] == (
        "llm-gateway-ollama is starting; Compose says: application not healthy after 3m0s"
    )
    assert box.look() == (0, ["gpu_recovered"])
    assert box.recreations() == 1


def shell(script: str, *words: str, path: str = "/usr/bin:/bin") -> Answer:
    done = subprocess.run(
        ["/bin/sh", "-c", script, *words], capture_output=True, check=False, text=True, env={"PATH": path}
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_the_containers_shell_opens_nodes_and_says_which_it_may_not(tmp_path: Path) -> None:
    assert shell(gpu_watch.OPEN_NODES, "sh", "/dev/null", "/dev/zero").status == 0
    failed = shell(gpu_watch.OPEN_NODES, "sh", "/dev/null", str(tmp_path), "/dev/zero")
    assert failed.status not in (0, gpu_watch.CANNOT_TELL, gpu_watch.TIMED_OUT, *gpu_watch.NOT_STARTED)
    assert str(tmp_path) in failed.last_words


@pytest.mark.parametrize("answer", [WORKS, LOST])
def test_the_containers_shell_asks_nvidia_where_its_tool_is(tmp_path: Path, answer: Answer) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\n[ "$1" = -L ] || exit 3\necho "{answer.output.strip()}"\nexit {answer.status}\n')
    tool.chmod(0o755)
    assert shell(gpu_watch.ASK_NVIDIA, path=f"{tmp_path}:/usr/bin:/bin") == answer


def test_the_containers_shell_opens_nvidias_node_without_the_tool_or_cannot_tell(tmp_path: Path) -> None:
    node = tmp_path / "nvidiactl"
    script = gpu_watch.ASK_NVIDIA.replace("/dev/nvidiactl", str(node)).replace("nvidia-smi", "no-such-tool")
    assert shell(script).status == gpu_watch.CANNOT_TELL
    node.touch()
    assert shell(script).status == 0
    node.unlink()
    node.mkdir()
    assert shell(script).status not in (0, gpu_watch.CANNOT_TELL)


def test_a_command_is_ended_when_its_time_is_over() -> None:
    assert gpu_watch.run_command([sys.executable, "-c", "print(1); exit(3)"], 30) == Answer(3, "1\n", "")
    slow = gpu_watch.run_command([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    assert (slow.status, slow.last_words) == (gpu_watch.TIMED_OUT, "no answer within 0.2 s")
    missing = gpu_watch.run_command(["no-such-docker"], 30)
    assert missing.last_words == "no-such-docker: No such file or directory"


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_watch.print_line({"event": "gpu_lost", "reason": "two\nlines"})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "gpu_lost"


def test_its_names_are_those_of_the_project() -> None:
    assert f"{definition.CONTAINER_PREFIX}{gpu_watch.SERVICE}" == gpu_watch.CONTAINER
    assert gpu_watch.UNFINISHED == files.UNFINISHED
