"""`make client` on real files: the vault stays encrypted and whole whatever happens, and no key leaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from plugins.module_utils.clients.changes import Refused
from plugins.modules import gateway_client

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "opens the vault of the test"
SECRET = "planted-7HnC2yTq9BvW4kXe6MzR1fJd8SgP5uLa"
# Seals the text in base64, and keeps what it was called with.
STAND_IN = """#!/bin/sh
echo "$*" >>"$0.calls"
[ -e "$0.fails" ] && { echo "the vault is broken" >&2; exit 1; }
case $1 in
encrypt) echo '$ANSIBLE_VAULT;1.1;AES256'; base64 ;;
decrypt) tail -n +2 | base64 -d ;;
esac
"""


class Project:
    """A user's project, with a stand-in for ``ansible-vault``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "group_vars/all"
        self.files.mkdir(parents=True)
        self.vault, self.clients = self.files / "vault.yml", self.files / "clients.yml"
        self.command = folder / "ansible-vault"
        self.command.write_text(STAND_IN)
        self.command.chmod(0o755)
        self.clients.write_text("llm_clients: []\n")
        self.write_vault(f'vault_redis_password: "{SECRET}"\n')

    def write_vault(self, text: str) -> None:
        done = subprocess.run([str(self.command), "encrypt"], input=text.encode(), capture_output=True, check=True)
        self.vault.write_bytes(done.stdout)
        self.vault.chmod(0o600)

    def read_vault(self) -> dict[str, str]:
        done = subprocess.run(
            [str(self.command), "decrypt"], input=self.vault.read_bytes(), capture_output=True, check=True
        )
        return dict(yaml.safe_load(done.stdout))

    def run(self, step: str = "add", name: str = "app", check_mode: bool = False) -> dict[str, Any]:
        params = {
            "name": name,
            "step": step,
            "project_dir": str(self.folder),
            "password_file": str(self.folder / "password"),
            "vault_command": str(self.command),
        }
        return gateway_client.change(params, check_mode)

    def state(self) -> tuple[bytes, bytes, list[str]]:
        return self.vault.read_bytes(), self.clients.read_bytes(), self.names()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.files.iterdir())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_client_gets_its_key(project: Project) -> None:
    result = project.run()
    assert result["changed"]
    assert project.read_vault() == {"vault_redis_password": SECRET, "vault_client_app_key": result["key"]}
    assert yaml.safe_load(project.clients.read_text())["llm_clients"] == [
        {"name": "app", "key": "{{ vault_client_app_key }}"}
    ]
    assert project.vault.stat().st_mode & 0o777 == 0o600
    assert project.names() == ["clients.yml", "vault.yml"]


def test_no_key_is_in_a_command_line(project: Project) -> None:
    key = project.run()["key"]
    calls = Path(f"{project.command}.calls").read_text()
    assert "encrypt --output - -" in calls
    assert key not in calls
    assert SECRET not in calls


def test_a_key_is_changed_over(project: Project) -> None:
    old = project.run()["key"]
    new = project.run("rotate")["key"]
    assert project.read_vault()["vault_client_app_key"] == old != new
    assert project.run("finish") == {
        "changed": True,
        "key": None,
        "notes": ["The new key of client app is now its only one. The old one stops working with: make apply"],
    }
    assert project.read_vault() == {"vault_redis_password": SECRET, "vault_client_app_key": new}


def test_check_mode_writes_nothing_and_shows_no_key(project: Project) -> None:
    before = project.state()
    result = project.run(check_mode=True)
    assert (result["changed"], result["key"]) == (True, None)
    assert project.state() == before


def test_a_run_that_is_killed_between_the_files_leaves_a_whole_vault_and_goes_on_later(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def killed(source: str, target: str) -> None:
        if target.endswith("clients.yml"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        project.run()
    assert project.names() == ["clients.yml", "vault.yml"]
    kept = project.read_vault()["vault_client_app_key"]
    monkeypatch.setattr(os, "replace", real)
    assert project.run()["key"] == kept


def test_a_run_that_is_killed_before_the_vault_is_replaced_changes_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.state()

    def killed(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        project.run()
    assert project.state() == before


def test_what_is_written_on_the_way_is_encrypted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = os.replace, []

    def look(source: str, target: str) -> None:
        seen.append(Path(source).read_text())
        real(source, target)

    monkeypatch.setattr(os, "replace", look)
    project.run()
    assert seen[0].startswith("$ANSIBLE_VAULT;")
    assert [text for text in seen if SECRET in text] == []


def test_a_file_that_changed_meanwhile_is_not_overwritten(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    real = gateway_client.Vault.encrypted

    def slow(vault: gateway_client.Vault, text: str) -> str:
        project.write_vault("vault_redis_password: edited\n")
        return real(vault, text)

    monkeypatch.setattr(gateway_client.Vault, "encrypted", slow)
    with pytest.raises(Refused, match=r"vault\.yml was changed by somebody else meanwhile"):
        project.run()
    assert project.read_vault() == {"vault_redis_password": "edited"}
    assert project.clients.read_text() == "llm_clients: []\n"


def test_links_stay_links(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "clients-elsewhere.yml"
    project.clients.rename(elsewhere)
    project.clients.symlink_to(elsewhere)
    project.run()
    assert project.clients.is_symlink()
    assert "name: app" in elsewhere.read_text()


def refused(project: Project, says: str) -> None:
    before = project.state()
    with pytest.raises(Refused) as reason:
        project.run()
    assert says in str(reason.value)
    assert SECRET not in str(reason.value)
    assert project.state() == before


def test_a_vault_command_that_fails(project: Project) -> None:
    Path(f"{project.command}.fails").touch()
    refused(project, "ansible-vault decrypt failed on group_vars/all/vault.yml: the vault is broken")


@pytest.mark.parametrize("inside", [True, False])
def test_another_password_is_told_from_a_broken_vault(checkout: Path, tmp_path_factory: Any, inside: bool) -> None:
    password = (checkout if inside else tmp_path_factory.mktemp("elsewhere")) / ".vault-password"
    password.write_text("another one")
    params = {
        "name": "app",
        "step": "add",
        "project_dir": str(checkout),
        "password_file": str(password),
        "vault_command": str(Path(sys.executable).parent / "ansible-vault"),
    }
    with pytest.raises(Refused) as reason:
        gateway_client.change(params, check_mode=False)
    name = ".vault-password" if inside else str(password)
    assert str(reason.value) == (
        f"{name} does not open group_vars/all/vault.yml: it holds another password. "
        "Put the right one there, or set ANSIBLE_VAULT_PASSWORD_FILE to the file that holds it"
    )


def test_a_vault_in_clear(project: Project) -> None:
    project.vault.write_text(f"vault_redis_password: {SECRET}\n")
    refused(
        project,
        "is not encrypted, so no key is put into it. Run: .venv/bin/ansible-vault encrypt group_vars/all/vault.yml",
    )


def test_a_vault_command_that_gives_back_something_else(project: Project) -> None:
    project.command.write_text(STAND_IN.replace("base64 ;;", "echo YQ== ;;"))
    refused(project, "gave back something else than it was given")


def test_a_vault_command_that_is_not_there(project: Project) -> None:
    project.command.unlink()
    refused(project, "cannot be run: FileNotFoundError")


@pytest.mark.parametrize(
    ("name", "instead"), [("vault", "Make it first: make secrets"), ("clients", "llm_clients: []")]
)
def test_a_file_that_is_missing(project: Project, name: str, instead: str) -> None:
    (project.files / f"{name}.yml").unlink()
    with pytest.raises(Refused) as reason:
        project.run()
    assert f"group_vars/all/{name}.yml is missing" in str(reason.value)
    assert instead in str(reason.value)


def test_a_file_that_is_not_utf_8(project: Project) -> None:
    project.clients.write_bytes(b"llm_clients: []  # \xff\n")
    refused(project, "is not UTF-8 text")


def play(folder: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run what `make client` runs."""
    tools = Path(sys.executable).parent
    without = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [str(tools / "ansible-playbook"), "playbooks/client.yml", "-i", "localhost,", "-vv", "--diff", *more],
        cwd=folder,
        env={**without, "PATH": f"{tools}:{os.environ['PATH']}", "CLIENT_NAME": "app", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what `make client` needs, with a vault that the real ansible-vault opens."""
    for name in ("playbooks/client.yml", "scripts/vault-password", "ansible.cfg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, tmp_path / name)
    (tmp_path / "collections").symlink_to(REPOSITORY / "collections")
    files = tmp_path / "group_vars/all"
    files.mkdir(parents=True)
    (files / "clients.yml").write_text("---\nllm_clients: []\n")
    vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    (files / "vault.yml").write_bytes(vault.encrypt(f"vault_redis_password: {SECRET}\n"))
    (tmp_path / "my-password").write_text(PASSWORD)
    return tmp_path


def test_the_playbook_shows_the_key_once_and_seals_it_with_the_given_password(checkout: Path) -> None:
    done = play(checkout, ANSIBLE_VAULT_PASSWORD_FILE="my-password")
    assert done.returncode == 0, done.stdout
    vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    secrets = yaml.safe_load(vault.decrypt((checkout / "group_vars/all/vault.yml").read_bytes()))
    assert secrets.keys() == {"vault_redis_password", "vault_client_app_key"}
    assert done.stdout.count(secrets["vault_client_app_key"]) == 1
    assert SECRET not in done.stdout
    assert "The gateway accepts it after: make apply" in done.stdout

    again = play(checkout, ANSIBLE_VAULT_PASSWORD_FILE="my-password")
    assert again.returncode != 0
    assert "already has a client app" in again.stdout
    assert secrets["vault_client_app_key"] not in again.stdout


def test_the_playbook_keeps_the_key_out_of_a_log_file(checkout: Path) -> None:
    (checkout / ".vault-password").write_text(PASSWORD)
    log = checkout / "ansible.log"
    done = play(checkout, ANSIBLE_LOG_PATH=str(log))
    assert done.returncode == 0, done.stdout
    assert "The key is not shown" in done.stdout
    assert "sk-" not in done.stdout + log.read_text()


def test_the_playbook_wants_a_password(checkout: Path) -> None:
    done = play(checkout)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert ".vault-password, which opens group_vars/all/vault.yml, is not there. Put your copy" in said


def test_without_password_and_vault_the_playbook_names_what_makes_both(checkout: Path) -> None:
    (checkout / "group_vars/all/vault.yml").unlink()
    done = play(checkout)
    assert done.returncode != 0
    assert "group_vars/all/vault.yml is missing. Make it first: make secrets" in " ".join(done.stdout.split())


def test_make_does_one_step_at_a_time() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "client", "NAME=app", "ROTATE=1", "FINISH=1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode != 0
    assert "run make client with one of them" in done.stderr
