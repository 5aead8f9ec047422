"""What the user's own command says to mistakes in the declaration, before any box is touched; and to `make secrets`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

REPOSITORY = Path(__file__).resolve().parents[2]
VAULT_PASSWORD = "opens the vault of the test"
SECRETS = {
    "vault_litellm_master_key": "sk-planted-4tQ8vXw2KfRm6ZbJ1sYc9LhN5dPg3UaE",
    "vault_redis_password": "planted-7HnC2yTq9BvW4kXe6MzR1fJd8SgP5uLa",
}
LOCAL = '  - name: local\n    backends: [{provider: ollama, model: "qwen3.5:2b"}]\n'


@dataclass(frozen=True)
class Run:
    """A finished command.

    Attributes:
        rc: exit status.
        output: what it printed on both streams.
    """

    rc: int
    output: str

    @property
    def flat(self) -> str:
        """The output as one line, however it was wrapped and indented."""
        return " ".join(self.output.split())

    def recap(self, word: str) -> int:
        """Return a number of the recap of the only host, such as ``ok``."""
        found = re.search(rf"\b{word}=(\d+)", self.output.split("PLAY RECAP", 1)[1])
        assert found, self.output
        return int(found[1])


def run(*command: str, folder: Path, **environment: str) -> Run:
    """Run one of Ansible's commands as a user does, with none of the caller's own Ansible settings."""
    tools = Path(sys.executable).parent
    without = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(tools / command[0]), *command[1:]],
        cwd=folder,
        env={**without, "PATH": f"{tools}:{os.environ['PATH']}", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=50,
    )
    return Run(done.returncode, done.stdout)


class Project:
    """A user's inventory and group_vars, with a box that keeps a trace of whoever knocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._trace = folder / "knocked"
        self._password_file = folder / "password"
        self._password_file.write_text(VAULT_PASSWORD, encoding="utf-8")
        knocker = folder / "ssh"
        knocker.write_text(f"#!/bin/sh\n: >'{self._trace}'\nexit 255\n", encoding="utf-8")
        knocker.chmod(0o755)
        box = {
            "ansible_host": "192.0.2.1",
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(knocker),
            "llm_bind_address": "127.0.0.1",
        }
        inventory = {"gateway": {"hosts": {"box": box}}, "ollama": {"hosts": {"box": None}}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        self.variables = folder / "group_vars/all"
        self.variables.mkdir(parents=True)
        for file in (REPOSITORY / "group_vars/all").glob("*.yml"):
            if file.name != "vault.yml":
                shutil.copy(file, self.variables)
        self.write_vault(SECRETS)

    @property
    def touched(self) -> bool:
        """Whether anybody tried to reach the box."""
        return self._trace.exists()

    def write(self, name: str, text: str) -> None:
        """Replace a file of group_vars."""
        (self.variables / name).write_text(f"---\n{text}", encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        """Add lines to a file of group_vars."""
        with (self.variables / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def write_vault(self, secrets: dict[str, str]) -> None:
        """Write the encrypted vault; without secrets it holds nothing at all."""
        text = yaml.safe_dump(secrets) if secrets else ""
        vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
        (self.variables / "vault.yml").write_bytes(vault.encrypt(text))

    def apply(self) -> Run:
        """Run what `make apply` runs."""
        return run(
            "ansible-playbook",
            "-i",
            str(self._folder / "hosts.yml"),
            "playbooks/site.yml",
            "--diff",
            folder=REPOSITORY,
            ANSIBLE_VAULT_PASSWORD_FILE=str(self._password_file),
        )

    def assert_refused(self, *messages: str) -> None:
        """Run it, and expect a refusal that consists of exactly these messages, with the box left in peace."""
        result = self.apply()
        assert result.rc != 0, result.output
        assert "Nothing was changed. To mend:" in result.flat, result.output
        # Ansible prints the message as an error first and as the task's result after that.
        _, _, of_the_task = result.output.partition("fatal: [box]")
        reported = re.findall(r"^\s*- ([^:]+: \S+: .+)$", of_the_task, re.MULTILINE)
        assert sorted(reported) == sorted(messages), result.output
        assert [value for value in SECRETS.values() if value in result.output] == []
        assert (result.recap("ok"), result.recap("changed"), result.recap("unreachable")) == (0, 0, 0)
        assert not self.touched


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_right_declaration_reaches_out_to_the_box(project: Project) -> None:
    result = project.apply()
    assert result.recap("unreachable") == 1, result.output
    assert project.touched
    assert "llm_tls is not set" not in result.flat


def test_a_misspelt_role_variable(project: Project) -> None:
    project.append("gateway.yml", "ingress_prot: 4001\n")
    result = project.apply()
    assert result.rc != 0
    assert (
        "- group_vars, host_vars or the inventory: ingress_prot: role ingress has no variable of this name. "
        "Did you mean 'ingress_port'? The playbooks set it from llm_port: set that."
    ) in result.flat, result.output
    assert not project.touched


def missing_from_the_vault(path: str, variable: str) -> str:
    """Return what is said of a value that should come from the vault."""
    files = {"llm_providers": "providers.yml", "llm_clients": "clients.yml"}
    file = f"group_vars/all/{files.get(re.split(r'[.[]', path)[0], 'gateway.yml')}"
    return (
        f"{file}: {path}: {variable} is not defined. Run `make secrets` if there is no group_vars/all/vault.yml yet, "
        f"else add {variable} with `.venv/bin/ansible-vault edit group_vars/all/vault.yml`"
        + ("; `make client NAME=NEW` makes a key for a new client." if variable.startswith("vault_client_") else ".")
    )


EMPTY_VAULT = (
    missing_from_the_vault("llm_master_key", "vault_litellm_master_key"),
    missing_from_the_vault("llm_redis_password", "vault_redis_password"),
)


def test_an_empty_vault(project: Project) -> None:
    project.write_vault({})
    project.assert_refused(*EMPTY_VAULT)


def test_no_vault(project: Project) -> None:
    (project.variables / "vault.yml").unlink()
    project.assert_refused(*EMPTY_VAULT)


def test_files_of_an_earlier_version_still_do(project: Project) -> None:
    (project.variables / "clients.yml").unlink()
    project.write("models.yml", f"llm_models:\n{LOCAL}")
    later = ("llm_budget", "llm_sentry", "llm_monitoring", "llm_tls", "llm_hosts", "llm_retry", "llm_drain")
    lines = (project.variables / "gateway.yml").read_text(encoding="utf-8").splitlines()
    (project.variables / "gateway.yml").write_text(
        "\n".join(line for line in lines if not line.startswith(later)) + "\n", encoding="utf-8"
    )
    result = project.apply()
    assert result.recap("unreachable") == 1
    assert "llm_tls is not set: the gateway is at https now" in result.flat


def test_clients_and_budgets(project: Project) -> None:
    project.write_vault({**SECRETS, "vault_anthropic_api_key": "sk-ant-planted", "vault_client_app_key": "sk-short"})
    project.write("providers.yml", 'llm_providers:\n  anthropic: {api_key: "{{ vault_anthropic_api_key }}"}\n')
    smart = "  - name: smart\n    backends: [{provider: anthropic, model: claude-of-tomorrow}]\n"
    project.write("models.yml", f"llm_models:\n{LOCAL}    fallbacks: [smart]\n{smart}")
    project.write(
        "clients.yml",
        "llm_clients:\n"
        '  - {name: app, key: "{{ vault_client_app_key }}", models: [smart], monthly_budget_usd: 5}\n'
        '  - {name: bot, keys: ["{{ vault_client_bot_key }}"], default_model: lokal}\n',
    )
    project.assert_refused(
        "group_vars/all/clients.yml: llm_clients[app].key: is weak (under 32 characters, or few different ones). "
        "Put a random key into the vault; `make client NAME=app` makes one for a new client.",
        missing_from_the_vault("llm_clients[bot].keys[0]", "vault_client_bot_key"),
        "group_vars/all/clients.yml: llm_clients[bot].default_model: 'lokal' is not a declared model. "
        "Did you mean 'local'? Known: local, smart.",
        "group_vars/all/models.yml: llm_models[smart].backends[0].price: is missing: LiteLLM knows no price of "
        "'claude-of-tomorrow', and the budget of client app needs one. "
        "Write price: {input_per_million_usd: 3, output_per_million_usd: 15} with its real prices.",
        "group_vars/all/models.yml: llm_models[local].fallbacks[0]: 'local' is free, but local -> smart costs money at "
        "anthropic, which has no budget. "
        "Write monthly_budget_usd for llm_providers.anthropic, or take 'smart' out of this chain.",
    )


def test_servers_of_llama_cpp(project: Project) -> None:
    project.write(
        "providers.yml",
        "llm_providers:\n  llamacpp: {kind: openai_compatible, api_base: 'http://10.0.0.7:8080/v1'}\n"
        "llm_llamacpp:\n  - {name: coder, path: models/coder.gguf, contxt: 4096}\n"
        '  - {name: Big, path: "{{ big_path }}"}\n',
    )
    code = "  - name: code\n    backends: [{provider: llamacpp, model: codr}]\n"
    project.write("models.yml", f"llm_models:\n{LOCAL}{code}")
    project.append("gateway.yml", "llamacpp_memory_limt: 8g\nllamacpp_image: mine\n")
    project.assert_refused(
        "group_vars/all/providers.yml: llm_llamacpp[coder].path: 'models/coder.gguf' is not an absolute path on the "
        "box. Write path: /srv/models/coder.gguf, where the file lies on the box.",
        "group_vars/all/providers.yml: llm_llamacpp[coder].contxt: unknown key. Did you mean 'context'? "
        "Known: context, embeddings, name, parallel, path.",
        "group_vars/all/providers.yml: llm_llamacpp[Big].name: 'Big' is not a name for a host. "
        "Write small letters, digits and -, 40 characters at most, such as name: coder.",
        "group_vars/all/providers.yml: llm_llamacpp[Big].path: big_path is not defined. "
        "Define big_path, or write the value itself.",
        "group_vars/all/providers.yml: llm_providers.llamacpp: is there for the instances of llm_llamacpp and takes no "
        "settings. Give this one another name, here and in llm_models.",
        "group_vars/all/models.yml: llm_models[code].backends[0].model: 'codr' is not declared in llm_llamacpp. "
        "Did you mean 'coder'? Known: coder.",
        "group_vars, host_vars or the inventory: llamacpp_image: has no effect here. "
        "Remove it; the playbooks set it from llm_images.",
        "group_vars, host_vars or the inventory: llamacpp_memory_limt: role llamacpp has no variable of this name. "
        "Did you mean 'llamacpp_memory_limit'? Known: llamacpp_enabled, llamacpp_generation, "
        "llamacpp_load_timeout, llamacpp_memory_limit, llamacpp_uid.",
    )


def test_files_of_before_llama_cpp_still_do(project: Project) -> None:
    project.write("providers.yml", "llm_providers: {}\n")
    images = yaml.safe_load((project.variables / "images.yml").read_text(encoding="utf-8"))
    del images["llm_images"]["llamacpp"]
    project.write("images.yml", yaml.safe_dump(images))
    result = project.apply()
    assert result.recap("unreachable") == 1, result.output


def test_what_is_allowed_but_may_surprise_is_shown(project: Project) -> None:
    embed = "  - name: {}\n    mode: embedding\n    backends: [{{provider: ollama, model: {}}}]\n"
    first = embed.format("embed", "nomic-embed-text") + "    fallbacks: [other]\n"
    project.write("models.yml", f"llm_models:\n{LOCAL}{first}{embed.format('other', 'all-minilm')}")
    run = project.apply()
    assert run.recap("unreachable") == 1
    assert "llm_models[embed].fallbacks" in run.output


def test_every_mistake_in_one_report(project: Project) -> None:
    project.write_vault({"vault_litellm_master_key": SECRETS["vault_litellm_master_key"], "vault_redis_password": ""})
    project.write(
        "providers.yml",
        'llm_providers:\n  openai: {api_key: "{{ vault_openai_api_key }}"}\n  anthropic: {api_kee: x}\n',
    )
    project.write("models.yml", f"llm_models:\n{LOCAL}{LOCAL}    fallbacks: [genral]\n    tmeout: 5\n")
    file = project.variables / "gateway.yml"
    text = file.read_text(encoding="utf-8").replace("llm_outside_from: []", "llm_outside_from: [laptop]")
    file.write_text(f"{text}llm_prot: 4001\nlitellm_replicas: 12\n", encoding="utf-8")
    project.assert_refused(
        "group_vars/all/gateway.yml: llm_outside_from[0]: 'laptop' is no host of the inventory. Known: box.",
        "group_vars/all/gateway.yml: litellm_replicas: 12 is not a number from 1 to 8. Write litellm_replicas: 2.",
        "group_vars/all/vault.yml: vault_redis_password: is empty. "
        "Put a random value there: .venv/bin/ansible-vault edit group_vars/all/vault.yml.",
        missing_from_the_vault("llm_providers.openai.api_key", "vault_openai_api_key"),
        "group_vars/all/providers.yml: llm_providers.anthropic.api_kee: unknown key. Did you mean 'api_key'? "
        "Known: api_base, api_key, fallback_at_percent, kind, monthly_budget_usd.",
        "group_vars/all/providers.yml: llm_providers.anthropic.api_key: is missing. "
        'Write api_key: "{{ vault_anthropic_api_key }}" and put the key into the vault.',
        "group_vars/all/models.yml: llm_models[local].name: two models have this name. "
        "Rename one, or give one model both backends to share the load.",
        "group_vars/all/models.yml: llm_models[local].fallbacks[0]: 'genral' is not a declared model. Known: local.",
        "group_vars/all/models.yml: llm_models[local].tmeout: unknown key. Did you mean 'timeout'? "
        "Known: backends, cache_ttl, context, fallbacks, first_token_timeout, mode, name, on_context_overflow, "
        "resident, timeout, tools.",
        "group_vars, host_vars or the inventory: llm_prot: the gateway has no variable of this name. "
        "Did you mean 'llm_port'? "
        "Known: llm_allow_overcommit, llm_bind_address, llm_budget_unavailable, llm_clients, llm_data_dir, "
        "llm_default_fallbacks, llm_deploy_dir, llm_drain_seconds, llm_drill_confirm, llm_drill_limits, llm_gpu, "
        "llm_gpu_devices, llm_hosts, llm_images, llm_llamacpp, "
        "llm_master_key, llm_models, llm_models_dir, llm_monitoring_networks, llm_network, llm_outside_from, llm_port, "
        "llm_providers, llm_redis_password, llm_retry_in_flight, llm_secure_logging, llm_sentry_dsn, llm_tls, "
        "llm_tls_ca, llm_tls_certificate, llm_tls_email, llm_tls_key, llm_verify_paid.",
    )


@pytest.fixture
def fresh_checkout(tmp_path: Path) -> Path:
    """Copy what `make secrets` needs, as it is before anybody has made a secret."""
    folder = tmp_path / "checkout"
    for name in ("playbooks/secrets.yml", "scripts/vault-password", "ansible.cfg", "group_vars/all/gateway.yml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def make_secrets(checkout: Path, **environment: str) -> Run:
    """Run what `make secrets` runs."""
    return run("ansible-playbook", "playbooks/secrets.yml", "-i", "localhost,", folder=checkout, **environment)


def assert_made(checkout: Path, made: Run, **environment: str) -> None:
    """Expect an encrypted vault that opens and holds two good secrets, none of which was printed."""
    assert made.rc == 0, made.output
    vault = checkout / "group_vars/all/vault.yml"
    assert (vault.stat().st_mode & 0o777, vault.read_text().split(";")[0]) == (0o600, "$ANSIBLE_VAULT")
    opened = run("ansible-vault", "view", "group_vars/all/vault.yml", folder=checkout, **environment)
    assert opened.rc == 0, opened.output
    secrets = yaml.safe_load(opened.output)
    assert secrets.keys() == SECRETS.keys()
    assert all(len(value) >= 48 for value in secrets.values())
    assert secrets["vault_litellm_master_key"].startswith("sk-")
    assert len(set(secrets.values())) == len(secrets)
    assert [value for value in secrets.values() if value in made.output] == []


def test_secrets_are_made_once(fresh_checkout: Path) -> None:
    first = make_secrets(fresh_checkout)
    assert_made(fresh_checkout, first)
    password = fresh_checkout / ".vault-password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text().strip() not in first.output
    assert "group_vars/all/vault.yml now holds a random administrator's key and Redis password" in first.flat
    assert "Its password is in .vault-password, which only you can read and git ignores" in first.flat
    kept = (password.read_bytes(), (fresh_checkout / "group_vars/all/vault.yml").read_bytes())

    second = make_secrets(fresh_checkout)
    assert (second.rc, second.recap("changed")) == (0, 0), second.output
    assert "group_vars/all/vault.yml is there and stays as it is" in second.flat
    assert (password.read_bytes(), (fresh_checkout / "group_vars/all/vault.yml").read_bytes()) == kept


def test_secrets_are_encrypted_with_the_password_file_that_is_given(fresh_checkout: Path, tmp_path: Path) -> None:
    given = tmp_path / "my-password"
    given.write_text(VAULT_PASSWORD, encoding="utf-8")
    made = make_secrets(fresh_checkout, ANSIBLE_VAULT_PASSWORD_FILE=str(given))
    assert_made(fresh_checkout, made, ANSIBLE_VAULT_PASSWORD_FILE=str(given))
    assert f"Its password is in {given}" in made.flat
    assert VAULT_PASSWORD not in made.output
    assert not (fresh_checkout / ".vault-password").exists()


def test_a_password_file_named_from_the_current_folder_is_found_again(fresh_checkout: Path) -> None:
    (fresh_checkout / "pw.txt").write_text(VAULT_PASSWORD, encoding="utf-8")
    for _ in range(2):
        made = make_secrets(fresh_checkout, ANSIBLE_VAULT_PASSWORD_FILE="pw.txt")
        assert made.rc == 0, made.output
    assert "group_vars/all/vault.yml is there and stays as it is." in made.flat
    assert not (fresh_checkout / ".vault-password").exists()


def test_a_vault_without_its_password_is_not_given_a_new_one(fresh_checkout: Path) -> None:
    make_secrets(fresh_checkout)
    (fresh_checkout / ".vault-password").unlink()
    made = make_secrets(fresh_checkout)
    assert made.rc != 0
    assert "group_vars/all/vault.yml is there, but .vault-password, which opens it, is not." in made.flat
    assert not (fresh_checkout / ".vault-password").exists()
