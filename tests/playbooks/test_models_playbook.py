"""The short way to other models: the same roles with the same values as the long one, and told before it is gone."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from plugins.module_utils.catalog.address import hosts
from tests.doubles import ollama
from tests.playbooks.test_refusals import REPOSITORY, SECRETS, Run, run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLES = "homelab.llm_gateway."
SERVED: list[dict[str, Any]] = [
    {
        "name": name,
        "mode": mode,
        "paid": False,
        "timeout": timeout,
        "first_token_timeout": first_token,
        "context": None,
        "tools": False,
        "resident": False,
        "fallbacks": [],
        "backends": [{"id": f"{name}/ollama/{upstream}@box", "description": f"{upstream} on box"}],
    }
    for name, mode, upstream, timeout, first_token in [
        ("local", "chat", "qwen3.5:2b", 600, 120),
        ("old", "chat", "qwen3:8b", 600, 120),
    ]
]


ADDRESS = {
    "scheme": "https",
    "bind": "127.0.0.1",
    "tls": "internal",
    "hosts": hosts("127.0.0.1", [], "box", ""),
    "replicas": 2,
}


def values(playbook: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return what a playbook hands to each role; ``kind`` is roles or tasks."""
    found = {}
    for play in yaml.safe_load((REPOSITORY / "playbooks" / playbook).read_text(encoding="utf-8")):
        for part in play.get(kind, []):
            role = part.get("role") or part.get("ansible.builtin.include_role", {}).get("name", "")
            if role:
                found[role.removeprefix(ROLES)] = part.get("vars", {})
    return found


@pytest.mark.parametrize(
    ("playbook", "role"),
    [("models.yml", "ollama"), ("models.yml", "llamacpp"), ("models.yml", "litellm"), ("prune.yml", "ollama")],
)
def test_a_role_gets_the_same_values_on_the_short_way(playbook: str, role: str) -> None:
    long, short = values("site.yml", "roles")[role], values(playbook, "tasks")[role]
    assert {name: long.get(name) for name in short} == short


def test_litellm_gets_every_value_on_the_short_way() -> None:
    assert values("models.yml", "tasks")["litellm"] == values("site.yml", "roles")["litellm"]


@pytest.fixture(name="registry")
def running_registry(tmp_path: Path) -> Iterator[str]:
    settings = ollama.Settings(home=tmp_path / "registry", models=tmp_path / "registry/models")
    server = ollama.OllamaServer(("127.0.0.1", 0), settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop()
    thread.join()
    server.server_close()


def switch(folder: Path, models: list[dict[str, Any]], registry: str, **variables: Any) -> Run:
    """Run the playbook in check mode on this machine, whose gateway lies in ``folder``."""
    box = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
        "llm_bind_address": "127.0.0.1",
        "llm_deploy_dir": str(folder / "deploy"),
        "llm_models_dir": str(folder / "models"),
        "preflight_ollama_registry": registry,
        "llm_models": models,
        **SECRETS,
        **variables,
    }
    inventory = {"gateway": {"hosts": {"box": box}}, "ollama": {"hosts": {"box": None}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    (folder / "group_vars").symlink_to(REPOSITORY / "group_vars")
    password = folder / "password"
    password.write_text("none is needed", encoding="utf-8")
    return run(
        "ansible-playbook",
        "-i",
        str(folder / "hosts.yml"),
        "--check",
        str(REPOSITORY / "playbooks/models.yml"),
        folder=REPOSITORY,
        ANSIBLE_VAULT_PASSWORD_FILE=str(password),
        ANSIBLE_NOCOLOR="1",
    )


def test_what_changes_is_told_before_an_unknown_model_stops_the_run(tmp_path: Path, registry: str) -> None:
    deployed = tmp_path / "deploy/litellm"
    deployed.mkdir(parents=True)
    (deployed / "questions.json").write_text(json.dumps(SERVED), encoding="utf-8")
    ingress = {**ADDRESS, "port": 4000}
    (deployed.parent / "ingress").mkdir()
    (deployed.parent / "ingress/address.json").write_text(json.dumps(ingress), encoding="utf-8")
    models: list[dict[str, Any]] = [
        {"name": "local", "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}], "context": 8192},
        {"name": "new", "backends": [{"provider": "ollama", "model": "nosuch:1b"}]},
    ]
    told = switch(tmp_path, models, registry).flat
    assert "- '~ model local: context not set -> 8192' - + model new (nosuch:1b on box) - '- model old' - to" in told
    assert "to download 2.7 GB (qwen3.5:2b), free" in told
    assert "Nothing was changed." in told
    assert "Ollama's registry has no model nosuch:1b." in told


def test_files_of_llama_cpp_that_are_not_there_or_closed_are_told_together(tmp_path: Path, registry: str) -> None:
    for name, content in (("litellm/questions.json", SERVED), ("ingress/address.json", {**ADDRESS, "port": 4000})):
        path = tmp_path / "deploy" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    closed = tmp_path / "closed.gguf"
    closed.touch(mode=0o600)
    declared = [{"name": "a", "path": f"{tmp_path}/none.gguf"}, {"name": "b", "path": str(closed)}]
    models = [{"name": one["name"], "backends": [{"provider": "llamacpp", "model": one["name"]}]} for one in declared]
    result = switch(tmp_path, models, registry, llm_llamacpp=declared)
    assert result.rc != 0
    assert "Nothing was changed." in result.flat
    assert f"The box has no file {tmp_path}/none.gguf. Copy it there, or correct llm_llamacpp[a].path" in result.flat
    assert f"{closed} (llm_llamacpp[b].path) cannot be read by 74087, the user of the container." in result.flat


def test_a_box_without_a_gateway_is_sent_to_make_apply(tmp_path: Path, registry: str) -> None:
    result = switch(tmp_path, [{"name": "a", "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}]}], registry)
    assert result.rc != 0
    assert "no gateway runs on this box. Run make apply first." in result.flat


def test_another_address_than_the_ingress_has_is_sent_to_make_apply(tmp_path: Path, registry: str) -> None:
    for name, content in (("litellm/questions.json", SERVED), ("ingress/address.json", {**ADDRESS, "port": 4001})):
        path = tmp_path / "deploy" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    result = switch(tmp_path, [{"name": "a", "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}]}], registry)
    assert result.rc != 0
    assert "Nothing was changed: its address, certificate or number of replicas is declared anew" in result.flat
