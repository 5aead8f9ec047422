"""Where the role puts the watch over the GPU, in check mode; and that a box without it runs not one task more."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from plugins.module_utils.project import files
from tests.playbooks.test_refusals import REPOSITORY, Run, run

if TYPE_CHECKING:
    from pathlib import Path

NVIDIA = {"mode": "nvidia", "options": {}, "environment": {}}
WATCH = ("gpu_watch.py", "llm-gateway-ollama-gpu-watch.service", "llm-gateway-ollama-gpu-watch.timer")
PLAYS: dict[str, dict[str, Any]] = {
    "cpu": {},
    "gpu": {"ollama_gpu": NVIDIA},
    "unwatched": {"ollama_gpu": NVIDIA, "ollama_gpu_watch": False},
    "gpu_gone": {},
}


def write_project(folder: Path) -> None:
    """Write a project with a watch, as an earlier run would have left it."""
    folder.mkdir(parents=True)
    for name in (files.MANAGED, "compose.yml", *WATCH):
        (folder / name).write_text("services: {}\n", encoding="utf-8")


@pytest.fixture(name="said", scope="module")
def what_check_mode_says(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the role once for each host, with folders of its own."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "password").write_text("none is needed", encoding="utf-8")
    write_project(folder / "gpu_gone" / "ollama")
    written = []
    for name, variables in PLAYS.items():
        own = {
            "ollama_image": "ollama/ollama:0.34.2",
            "ollama_deploy_dir": str(folder / name),
            "ollama_data_dir": str(folder / name / "models"),
        }
        task = {
            "name": name,
            "ansible.builtin.include_role": {"name": "homelab.llm_gateway.ollama"},
            "vars": {**own, **variables},
        }
        written.append({"hosts": name, "gather_facts": False, "tasks": [task]})
    (folder / "plays.yml").write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    result = run(
        *("ansible-playbook", "--check", "--diff", "-i", ",".join([*PLAYS, ""])),
        *("-e", "ansible_connection=local", "-e", f"ansible_python_interpreter={sys.executable}"),
        str(folder / "plays.yml"),
        folder=REPOSITORY,
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_VAULT_PASSWORD_FILE=str(folder / "password"),
    )
    assert result.rc == 0, result.output
    return result


def shown(said: Run, host: str) -> str:
    """Return the diff of the task that writes the folder on one host."""
    return said.output.split(f"TASK [{host}]", 1)[1].split("changed: [", 1)[0]


def changed_paths(said: Run, host: str) -> list[str]:
    """Return what the diff names of the watch."""
    paths = re.findall(r"^\+\+\+ after: (\S+)$", shown(said, host), re.MULTILINE)
    return [path for path in paths if "watch" in path.rsplit("/", 1)[-1]]


def test_a_box_with_a_gpu_gets_the_watch_whole(said: Run) -> None:
    script, *_ = paths = changed_paths(said, "gpu")
    folder = script.removesuffix("/gpu_watch.py")
    assert paths == [
        *(f"{folder}/{name}" for name in WATCH),
        *(f"/etc/systemd/system/{name}" for name in WATCH[1:]),
        WATCH[2],
    ]
    written = [line.removeprefix("+") for line in shown(said, "gpu").splitlines() if line.startswith("+")]
    program = (REPOSITORY / "roles/ollama/files/gpu_watch.py").read_text(encoding="utf-8")
    assert "\n".join(program.splitlines()) in "\n".join(written)
    assert f"ExecStart=/usr/bin/python3 -I {folder}/gpu_watch.py" in written


@pytest.mark.parametrize("host", ["cpu", "unwatched"])
def test_a_box_without_a_gpu_or_without_the_watch_gets_none_of_it(said: Run, host: str) -> None:
    assert changed_paths(said, host) == []


def test_a_box_whose_gpu_is_gone_loses_it(said: Run) -> None:
    assert [path.rsplit("/", 1)[-1] for path in changed_paths(said, "gpu_gone")] == list(WATCH)
    assert all(f"/{name}\n@@ -1 +0,0 @@" in shown(said, "gpu_gone") for name in WATCH)


def test_the_watch_is_not_one_task_more_anywhere(said: Run) -> None:
    executed = dict(re.findall(r"^(\w+)\s+: (ok=\d+\s+changed=\d+)", said.output, re.MULTILINE))
    assert set(executed) == set(PLAYS)
    assert len(set(executed.values())) == 1
