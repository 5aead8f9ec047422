"""What Ansible itself makes of this checkout: its variables, its vault password, its collection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "docs",
    "group_vars",
    "inventory",
    "meta",
    "playbooks",
    "plugins",
    "requirements.yml",
    "roles",
}


def ansible(*command: str, folder: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's commands from the environment that runs the tests."""
    tools = Path(sys.executable).parent
    without = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [str(tools / command[0]), *command[1:]],
        cwd=folder,
        env={**without, "PATH": f"{tools}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize(
    ("inventory", "host"), [("inventory/homelab.yml", "gateway-1"), ("inventory/local.yml", "localhost")]
)
def test_root_group_vars_are_loaded(inventory: str, host: str) -> None:
    result = ansible("ansible-inventory", "-i", inventory, "--host", host)
    assert result.returncode == 0, result.stderr
    assert {"litellm", "ollama", "redis"} <= json.loads(result.stdout)["llm_images"].keys()


@pytest.mark.parametrize("inventory", ["inventory/homelab.yml", "inventory/local.yml"])
def test_inventory_has_both_groups(inventory: str) -> None:
    groups = json.loads(ansible("ansible-inventory", "-i", inventory, "--list").stdout)
    assert groups["gateway"]["hosts"]
    assert groups["ollama"]["hosts"]


def test_checkout_is_the_collection() -> None:
    plugins = ansible("ansible-doc", "--list", "--type", "module", "--json", "homelab.llm_gateway")
    modules = {f"homelab.llm_gateway.{path.stem}" for path in (REPOSITORY / "plugins/modules").glob("[!_]*.py")}
    assert modules
    assert json.loads(plugins.stdout).keys() == modules


def test_bundled_collections_are_found_too() -> None:
    result = ansible("ansible-doc", "--list", "--type", "module", "--json", "community.docker")
    assert "community.docker.docker_compose_v2" in json.loads(result.stdout)


@pytest.fixture
def vault_project(tmp_path: Path) -> Path:
    """Make a project of the real vault script, its settings and one secret in plain text."""
    (tmp_path / "scripts").mkdir()
    shutil.copy2(REPOSITORY / "scripts/vault-password", tmp_path / "scripts/vault-password")
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\nvault_password_file = scripts/vault-password\n", encoding="utf-8"
    )
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "group_vars/all/vault.yml").write_text("vault_secret: planted\n", encoding="utf-8")
    (tmp_path / "password").write_text("of the test\n", encoding="utf-8")
    (tmp_path / "hosts.yml").write_text("all: {hosts: {box: }}\n", encoding="utf-8")
    return tmp_path


def show(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Read the variables of the box, the vault's included."""
    return ansible("ansible-inventory", "-i", "hosts.yml", "--host", "box", folder=project, **environment)


def encrypt(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Encrypt the vault of the project."""
    return ansible("ansible-vault", "encrypt", "group_vars/all/vault.yml", folder=project, **environment)


def test_plain_vault_needs_no_password(vault_project: Path) -> None:
    result = show(vault_project)
    assert json.loads(result.stdout)["vault_secret"] == "planted"
    assert ".vault-password" not in result.stderr


def test_nothing_is_encrypted_without_a_password(vault_project: Path) -> None:
    result = encrypt(vault_project)
    assert result.returncode != 0
    assert 'run "make secrets"' in result.stderr
    assert "planted" in (vault_project / "group_vars/all/vault.yml").read_text(encoding="utf-8")


def test_encrypted_vault_without_a_password_says_what_to_do(vault_project: Path) -> None:
    assert encrypt(vault_project, ANSIBLE_VAULT_PASSWORD_FILE="password").returncode == 0
    result = show(vault_project)
    assert result.returncode != 0
    assert "vault.yml is encrypted" in result.stderr
    assert "put your copy of it back, or set ANSIBLE_VAULT_PASSWORD_FILE" in result.stderr
    assert "make secrets" not in result.stderr


def test_password_file_of_the_environment_wins(vault_project: Path) -> None:
    assert encrypt(vault_project, ANSIBLE_VAULT_PASSWORD_FILE="password").returncode == 0
    (vault_project / ".vault-password").write_text("another\n", encoding="utf-8")
    result = show(vault_project, ANSIBLE_VAULT_PASSWORD_FILE="password")
    assert json.loads(result.stdout)["vault_secret"] == "planted"


def test_password_file_of_the_project_is_used(vault_project: Path) -> None:
    shutil.copy(vault_project / "password", vault_project / ".vault-password")
    assert encrypt(vault_project).returncode == 0
    assert json.loads(show(vault_project).stdout)["vault_secret"] == "planted"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what a working checkout holds, with files planted that must never leave it."""
    copy = tmp_path / "checkout"
    skipped = shutil.ignore_patterns(".git", ".venv", ".bed", ".ansible", ".hypothesis", "*_cache", "__pycache__")
    shutil.copytree(REPOSITORY, copy, symlinks=True, ignore=skipped)
    for name in (
        ".vault-password",
        ".bed/secrets.yml",
        ".venv/pyvenv.cfg",
        "group_vars/all/vault.yml",
        "roles/redis/.hidden",
        "plugins/filter/__pycache__/x.pyc",
        "old.tar.gz",
    ):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("planted", encoding="utf-8")
    return copy


def test_collection_builds_and_holds_what_its_users_need(checkout: Path, tmp_path: Path) -> None:
    result = ansible("ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), folder=checkout)
    assert result.returncode == 0, result.stderr
    (archive,) = tmp_path.glob("homelab-llm_gateway-*.tar.gz")
    with tarfile.open(archive) as tar:
        files = [member for member in tar.getmembers() if member.isfile()]
        names = [member.name for member in files]
        planted = [member.name for member in files if tar.extractfile(member).read() == b"planted"]  # type: ignore[union-attr]
    assert planted == []
    assert {name.split("/")[0] for name in names} == SHIPPED
    assert {"meta/runtime.yml", "playbooks/site.yml", "group_vars/all/images.yml"} <= set(names)
    for folder in ("plugins", "roles"):
        assert any(name.startswith(f"{folder}/") for name in names)
    assert not [name for name in names if name.endswith(("vault.yml", ".pyc")) or "/." in name]
