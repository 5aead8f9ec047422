"""What each service role puts on a box renders from its real defaults, with no host."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from plugins.filter.catalog import plain
from plugins.module_utils.catalog.plan import make_plan
from tests.unit.catalog_samples import declaration

ROOT = Path(__file__).parents[2]
SECRET = "s3cret-'quoted' $(id) `id` \"x\" \\ end"


def trusted(value: Any) -> Any:
    """Mark the text of our own files as templates, as Ansible does when it loads them."""
    if isinstance(value, Mapping):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def render(role: str, expression: str, **variables: Any) -> Any:
    """Evaluate an expression with the defaults and private variables of a role, as its tasks would."""
    folder = ROOT / "roles" / role
    known: dict[str, Any] = {}
    for part in ("defaults", "vars"):
        known.update(trusted(yaml.safe_load((folder / part / "main.yml").read_text())))
    known.update(variables, ansible_search_path=[str(folder)])
    loader = DataLoader()
    loader.set_basedir(str(folder))
    return Templar(loader, known).template(trust_as_template(f"{{{{ {expression} }}}}"))


def compose(role: str, **variables: Any) -> dict[str, Any]:
    """Return the Compose file that a role comes to."""
    files, secrets = ("{}", "{}") if role == "ollama" else (f"__{role}_files", f"__{role}_secrets")
    arguments = f"'llm-gateway-{role}', 'llm-gateway', {files}, {secrets}"
    expression = f"__{role}_containers | homelab.llm_gateway.compose_definition({arguments})"
    return dict(plain(render(role, expression, **variables)))


PLAN = make_plan(declaration())
REDIS = {"redis_image": PLAN["images"]["redis"], "redis_password": "redis-password-of-the-test"}
OLLAMA = {"ollama_image": PLAN["images"]["ollama"]}
LITELLM = {
    "litellm_image": PLAN["images"]["litellm"],
    "litellm_config": PLAN["litellm_config"],
    "litellm_environment": {**PLAN["litellm_environment"], "PROVIDER_X_API_KEY": SECRET},
}
ROLES = {"redis": REDIS, "ollama": OLLAMA, "litellm": LITELLM}


@pytest.mark.parametrize("role", ROLES)
def test_every_container_is_hardened_and_bounded(role: str) -> None:
    services = compose(role, **ROLES[role])["services"]
    assert services
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].split(":")[0] not in ("0", "root", "")
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert service["logging"]["options"]["max-size"]
        assert "privileged" not in service
        assert "cap_add" not in service
        assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]


def test_only_litellm_is_published_and_only_where_the_inventory_says() -> None:
    published = {
        role: [service.get("ports", []) for service in compose(role, **ROLES[role])["services"].values()]
        for role in ROLES
    }
    assert published == {"redis": [[]], "ollama": [[]], "litellm": [["127.0.0.1:4000:4000"]]}
    elsewhere = compose("litellm", **LITELLM, litellm_bind_address="10.0.0.5", litellm_port=8001)
    assert elsewhere["services"]["litellm-1"]["ports"] == ["10.0.0.5:8001:4000"]


@pytest.mark.parametrize("role", ROLES)
def test_no_secret_stands_in_a_compose_file(role: str) -> None:
    text = yaml.safe_dump(compose(role, **ROLES[role]))
    secrets = [REDIS["redis_password"], *LITELLM["litellm_environment"].values()]
    assert not [secret for secret in secrets if str(secret) in text]


@pytest.mark.parametrize("role", ["redis", "litellm"])
def test_a_changed_secret_or_file_recreates_the_container(role: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "redis": {"redis_password": "another-password"},
        "litellm": {"litellm_environment": {**LITELLM["litellm_environment"], "PROVIDER_X_API_KEY": "another"}},
    }
    before = compose(role, **ROLES[role])["services"]
    after = compose(role, **{**ROLES[role], **changes[role]})["services"]
    assert [service["labels"] for service in before.values()] != [service["labels"] for service in after.values()]
    assert compose(role, **ROLES[role])["services"] == before


def test_health_checks_use_what_the_images_have() -> None:
    for role, variables in ROLES.items():
        for service in compose(role, **variables)["services"].values():
            command = " ".join(service["healthcheck"]["test"])
            assert "curl" not in command
            assert "wget" not in command


def test_the_config_of_litellm_is_the_planned_one() -> None:
    text = render("litellm", "__litellm_files['config/config.yaml'].content", **LITELLM)
    assert yaml.safe_load(text) == PLAN["litellm_config"]


def test_the_config_of_redis_never_throws_out_a_key_without_expiry() -> None:
    lines = render("redis", "__redis_files['config/redis.conf'].content", **REDIS).splitlines()
    assert "maxmemory-policy volatile-lru" in lines
    assert "appendonly yes" in lines
    assert "maxmemory 256mb" in lines
    assert not [line for line in lines if "requirepass" in line]


def test_a_shell_reads_every_secret_back_as_it_was(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    environment.write_text(render("litellm", "__litellm_secrets['secrets/environment'].content", **LITELLM))
    script = f'set -ea; . {environment}; set +a; printf %s "$PROVIDER_X_API_KEY"'
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == SECRET


def test_litellm_does_not_start_without_one_of_its_keys(tmp_path: Path) -> None:
    start = str(render("litellm", "__litellm_files['config/start.sh'].content", **LITELLM))
    environment = tmp_path / "environment"
    script = start.replace("/run/litellm-secrets/environment", str(environment)).replace(
        "exec litellm", "echo started litellm"
    )
    complete = {**LITELLM["litellm_environment"], "PROVIDER_X_API_KEY": "x"}
    for missing in (None, *complete):
        environment.write_text("".join(f"{name}='x'\n" for name in complete if name != missing))
        ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) == (missing is None), ran.stderr
        assert missing is None or missing in ran.stderr
