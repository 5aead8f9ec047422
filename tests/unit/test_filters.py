"""The filters as Ansible calls them: in a template, with variables that may not exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from plugins.filter.catalog import PLAYBOOKS_DIR, PRICES_FILE, ROLES_DIR, handed_over, known_prices, roles_of
from plugins.module_utils.catalog.declaration import HOSTED
from plugins.module_utils.catalog.settings import Role
from plugins.module_utils.compose.definition import compose_definition, files_digest
from plugins.module_utils.compose.log_end import log_end
from tests.unit.catalog_samples import IMAGES, MODELS, SETTINGS

ROOT = Path(__file__).parents[2]
CONTAINER = {"image": "redis:8", "user": "1:1", "healthcheck": {}, "mem_limit": "1g", "pids_limit": 1}


def problems(**changes: Any) -> list[str]:
    declared = {
        "settings": SETTINGS,
        "providers": {},
        "models": [MODELS[2]],
        "default_fallbacks": [],
        "clients": [],
        "images": IMAGES,
        "gateway_box": "box",
        "gateway_boxes": ["box"],
        "ollama_boxes": ["box"],
        "ollama_address": "http://ollama:11434",
        "redis_host": "redis",
        "enabled": {"redis": True, "ollama": True, "llamacpp": True, "litellm": True, "ingress": True},
        "variable_names": [],
        **changes,
    }
    templar = Templar(DataLoader(), {"declared": declared})
    return list(templar.template(trust_as_template("{{ declared | homelab.llm_gateway.catalog_problems }}")))


def test_a_right_declaration_passes_through_a_template() -> None:
    assert problems() == []


def test_a_misspelt_role_variable_is_found_by_the_contracts_of_the_roles() -> None:
    lines = problems(variable_names=["litellm_uidd", "litellm_uid"])
    assert len(lines) == 1
    assert "litellm_uidd: role litellm has no variable of this name. Did you mean 'litellm_uid'?" in lines[0]


def test_a_variable_that_the_playbooks_set_has_no_effect_and_says_so() -> None:
    lines = problems(variable_names=["ollama_data_dir", "ingress_port", "redis_maxmemory"])
    assert len(lines) == 2
    assert "ingress_port: has no effect here. Remove it; the playbooks set it from llm_port." in lines[0]
    assert "ollama_data_dir: has no effect here. Remove it; the playbooks set it from llm_models_dir." in lines[1]


def test_what_a_user_is_sent_to_is_never_the_plan_itself() -> None:
    sources = handed_over(PLAYBOOKS_DIR / "site.yml", PLAYBOOKS_DIR / "verify.yml")
    assert sources["litellm_image"] == "llm_images"
    assert sources["docker_images"] == sources["ollama_image"] == "llm_images and llm_gpu"
    assert sources["ollama_models"] == sources["verify_questions"] == "llm_models"
    assert [name for name, source in sources.items() if "plan" in source] == []


def test_a_variable_that_does_not_exist_is_a_problem_like_any_other() -> None:
    lines = problems(
        providers={"openai": {"api_key": trust_as_template("{{ vault_openai_api_key }}")}},
        settings={**SETTINGS, "llm_master_key": trust_as_template("{{ vault_litellm_master_key }}")},
        models=[{**MODELS[2], "fallbacks": ["nobody"]}],
    )
    assert len(lines) == 3
    assert any("llm_providers.openai.api_key: vault_openai_api_key is not defined" in line for line in lines)
    assert any("llm_master_key: vault_litellm_master_key is not defined" in line for line in lines)


def test_a_variable_that_is_nowhere_set_takes_its_default_and_one_that_names_a_missing_one_does_not() -> None:
    names = ("llm_clients", "llm_default_fallbacks", "llm_sentry_dsn", "llm_monitoring_networks")
    nowhere = {name: trust_as_template("{{ " + name + " }}") for name in names}
    settings = {**SETTINGS, **{name: nowhere[name] for name in names[2:]}}
    assert problems(clients=nowhere[names[0]], default_fallbacks=nowhere[names[1]], settings=settings) == []
    lines = problems(settings={**SETTINGS, "llm_sentry_dsn": trust_as_template("{{ vault_sentry_dsn }}")})
    assert len(lines) == 1
    assert "llm_sentry_dsn: vault_sentry_dsn is not defined" in lines[0]


def test_a_client_whose_key_is_missing_is_a_problem_and_its_other_key_is_read() -> None:
    keys = [trust_as_template("{{ vault_client_app_key }}"), "client-key-A1b2C3d4E5f6G7h8J9k0L1m2"]
    lines = problems(clients=[{"name": "app", "keys": keys}])
    assert len(lines) == 1
    assert "llm_clients[app].keys[0]: vault_client_app_key is not defined" in lines[0]


def test_litellms_prices_are_known_for_the_models_people_use() -> None:
    known = known_prices(PRICES_FILE)
    assert set(known) == set(HOSTED)
    assert {"gpt-5.4", "text-embedding-3-small"} <= known["openai"]
    assert "claude-opus-4-5" in known["anthropic"]
    assert "deepseek-ai/deepseek-v3" in known["together_ai"]


def test_the_prices_are_those_of_the_litellm_that_runs() -> None:
    version = json.loads(PRICES_FILE.read_text(encoding="utf-8"))["litellm"]
    images = yaml.safe_load((ROOT / "group_vars/all/images.yml").read_text(encoding="utf-8"))["llm_images"]
    assert f"v{version}" == images["litellm"]["tag"], "run scripts/prices.py with the wheel of that version"


def test_the_variables_of_the_roles_are_read_from_their_contracts(tmp_path: Path) -> None:
    contract = tmp_path / "redis" / "meta" / "argument_specs.yml"
    contract.parent.mkdir(parents=True)
    contract.write_text(
        "argument_specs: {main: {options: {redis_image: {type: str}}}, other: {options: {redis_port: {}}}}"
    )
    assert roles_of(tmp_path) == (Role("redis", ("redis_image", "redis_port")),)
    own = {role.name: role.variables for role in roles_of(ROLES_DIR)}
    assert "ingress_port" in own["ingress"]


def test_a_folder_without_roles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnsibleFilterError, match="no role"):
        roles_of(tmp_path)


@pytest.mark.parametrize("key", list(CONTAINER))
def test_a_container_without_a_limit_or_a_user_is_refused(key: str) -> None:
    container = {name: value for name, value in CONTAINER.items() if name != key}
    with pytest.raises(ValueError, match=f"container redis of project p has no {key}"):
        compose_definition({"redis": container}, "p", "n", "digest")


def test_the_digest_of_the_files_follows_every_name_and_text() -> None:
    files = {"c/a": {"content": "1"}, "c/b": {"content": "2"}}
    digest = files_digest(files, {})
    assert digest == files_digest({"c/b": {"content": "2"}}, {"c/a": {"content": "1", "mode": "0400"}})
    assert digest != files_digest({"c/a": {"content": "2"}, "c/b": {"content": "1"}}, {})


def test_the_end_of_a_log_is_short_and_says_each_thing_once() -> None:
    reason = "AttributeError: no such hook"
    log = f"\x1b[31mstarting\x1b[0m\n{'x' * 5000} {reason}\n\nstarting\n{'x' * 5000} {reason}\n"
    first, last = log_end(log).splitlines()
    assert first == "starting"
    assert last.startswith("...x")
    assert last.endswith(reason)
    assert len(last) == 303
    assert log_end("\n".join(str(number) for number in range(100)), lines=2) == "98\n99"
