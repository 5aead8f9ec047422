"""The role's own tasks against the Ollama stand-in: held, derived and loaded once; what nobody declares goes last."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import yaml

from plugins.module_utils.ollama import api
from tests.doubles import ollama
from tests.playbooks.test_refusals import REPOSITORY, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DECLARED: dict[str, object] = {
    "ollama_models": ["qwen3.5:2b", "nomic-embed-text"],
    "ollama_derived_models": [
        {"name": "qwen3.5:2b-ctx4096", "from": "qwen3.5:2b", "parameters": {"num_ctx": 4096}},
    ],
    "ollama_resident_models": ["qwen3.5:2b-ctx4096"],
}
LESS: dict[str, object] = {"ollama_models": ["nomic-embed-text"], "ollama_derived_models": []}


@pytest.fixture(name="server")
def running_stand_in(tmp_path: Path) -> Iterator[ollama.OllamaServer]:
    settings = ollama.Settings(home=tmp_path, models=tmp_path / "models", pull=0.0, slow_pull=6.0)
    server = ollama.OllamaServer(("127.0.0.1", 0), settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stop()
    thread.join()
    server.server_close()


class Role:
    """The role on this machine, with a `docker` that knows where the stand-in is."""

    def __init__(self, server: ollama.OllamaServer, folder: Path) -> None:
        self._folder = folder
        self._docker = folder / "bin/docker"
        self._docker.parent.mkdir()
        self._docker.write_text("#!/bin/sh\necho 127.0.0.1\n", encoding="utf-8")
        self._docker.chmod(0o755)
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "__ollama_url": f"http://127.0.0.1:{server.server_port}",
            "ollama_data_dir": str(folder),
            # Nobody listens there, so the sizes of models stay unknown.
            "ollama_registry": "http://127.0.0.1:1",
            "ansible_async_dir": str(folder / "jobs"),
        }
        (folder / "more.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")
        (folder / "password").write_text("none is needed", encoding="utf-8")

    def run(self, *options: str, **plays: tuple[str, dict[str, object]]) -> tuple[dict[str, int], str]:
        """Run an entry of the role with variables for each play.

        Returns:
            The changes by the plays' names, and what was printed, as one line.
        """
        written = [
            {
                "hosts": name,
                "gather_facts": False,
                "tasks": [
                    {
                        "name": name,
                        "ansible.builtin.include_role": {"name": "homelab.llm_gateway.ollama", "tasks_from": entry},
                        "vars": variables,
                    }
                ],
            }
            for name, (entry, variables) in plays.items()
        ]
        (self._folder / "plays.yml").write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        # A host for each play, so that the recap counts it by itself.
        result = run(
            "ansible-playbook",
            "-i",
            ",".join([*plays, ""]),
            "-e",
            f"@{self._folder / 'more.yml'}",
            *options,
            str(self._folder / "plays.yml"),
            folder=REPOSITORY,
            PATH=f"{self._docker.parent}:{os.environ['PATH']}",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_VAULT_PASSWORD_FILE=str(self._folder / "password"),
        )
        assert result.rc == 0, result.output
        recap = re.findall(r"^(\w+)\s+:.*\bchanged=(\d+)", result.output, re.MULTILINE)
        return {name: int(changed) for name, changed in recap}, result.flat


@pytest.fixture(name="role")
def role_beside_the_stand_in(server: ollama.OllamaServer, tmp_path: Path) -> Role:
    for name in ("qwen3.5:2b", "nomic-embed-text"):
        list(server.machine.pull(ollama.ModelName.parse(name)))
    return Role(server, tmp_path)


def test_what_is_declared_is_held_once_and_the_rest_is_removed_when_that_is_wanted(
    server: ollama.OllamaServer, role: Role
) -> None:
    client = api.Client(f"http://127.0.0.1:{server.server_port}")
    wanted = {**LESS, "ollama_prune": True}
    changes, said = role.run("--check", looks=("models", DECLARED), would=("prune", wanted))
    assert changes == {"looks": 1, "would": 1}
    assert "would remove: qwen3.5:2b, 2.7 GB" in said
    assert (len(client.tags()), client.loaded()) == (2, [])
    plays: dict[str, tuple[str, dict[str, object]]] = {
        "first": ("models", DECLARED),
        "second": ("models", DECLARED),
        "names": ("prune", LESS),
    }
    changes, said = role.run(**plays, prunes=("prune", wanted), again=("prune", wanted))
    assert changes == {"first": 1, "second": 0, "names": 0, "prunes": 1, "again": 0}
    assert server.machine.report()["requests"]["POST /api/create"] == 1
    assert re.search(r"would remove: qwen\S+, qwen\S+, 2.7 GB; ollama_prune: true removes them", said), said
    assert re.search(r"(?<!would )removed: qwen\S+, qwen\S+, 2.7 GB", said), said
    assert [model.name for model in client.tags()] == ["nomic-embed-text:latest"]


def test_a_long_pull_tells_how_far_it_is_and_leaves_nothing_behind(
    server: ollama.OllamaServer, role: Role, tmp_path: Path
) -> None:
    slow: dict[str, object] = {"ollama_models": ["test/slow"]}
    changes, said = role.run(pulls=("models", slow), again=("models", slow))
    assert changes == {"pulls": 1, "again": 0}
    line = r" pulls: pulling test/slow:latest: \d+ MB of 500 MB, \d+ %, \d+\.\d MB/s, \d+ s left "
    assert re.search(line, said), said
    assert server.machine.report()["pulls"]["started"] == 3
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_model_of_a_file_is_made_once_and_is_not_what_nobody_declares(
    server: ollama.OllamaServer, role: Role, tmp_path: Path
) -> None:
    file = tmp_path / "house-style.gguf"
    file.write_bytes(b"GGUF and more")
    own: dict[str, object] = {"ollama_gguf_models": [{"name": "house-style", "path": str(file)}]}
    plays: dict[str, tuple[str, dict[str, object]]] = {
        "makes": ("models", own),
        "again": ("models", own),
        "prunes": ("prune", {**own, "ollama_prune": True}),
    }
    changes, said = role.run(**plays)
    assert changes == {"makes": 1, "again": 0, "prunes": 1}
    assert f"copying {file} to the box" in said
    client = api.Client(f"http://127.0.0.1:{server.server_port}")
    assert [model.name for model in client.tags()] == ["house-style:latest"]
