"""The setups of docs/examples: each is complete, right, and says what its page promises."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "docs/examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/inventory.yml"))
VAULT_VARIABLE = re.compile(r"\bvault_[a-z0-9_]+")


def vault_variables(name: str) -> set[str]:
    """Return the names of the secrets that an example's variables take from the vault."""
    files = (EXAMPLES / name / "group_vars/all").glob("*.yml")
    # Read and written again, without the comments.
    texts = [yaml.safe_dump(yaml.safe_load(file.read_text())) for file in files]
    return {variable for text in texts for variable in VAULT_VARIABLE.findall(text)}


def planted(variable: str) -> str:
    """Return a secret of the right form for a variable of the vault."""
    if variable == "vault_sentry_dsn":
        return "https://0123456789abcdef@sentry.example/1"
    return f"sk-4tQ8vXw2KfRm6ZbJ1sYc9LhN5dPg3UaE-{variable}"


def templar(name: str) -> Templar:
    """Return what renders the variables of an example's box as playbooks do, with a vault that holds what it needs."""
    loader = DataLoader()
    # Otherwise variables of the folder in which the tests run would win.
    loader.set_basedir(str(REPOSITORY / "playbooks"))
    inventory = InventoryManager(loader=loader, sources=[str(EXAMPLES / name / "inventory.yml")])
    (box,) = inventory.groups["gateway"].get_hosts()
    variables = VariableManager(loader=loader, inventory=inventory).get_vars(host=box)
    secrets = {variable: planted(variable) for variable in vault_variables(name)}
    (task,) = loader.load_from_file(str(REPOSITORY / "playbooks/tasks/plan.yml"), trusted_as_template=True)
    return Templar(loader, {**variables, **secrets, **task["vars"]})


def rendered(name: str, expression: str) -> Any:
    """Return what an expression comes to on an example's box."""
    return templar(name).template(trust_as_template(f"{{{{ {expression} }}}}"))


@cache
def plan(name: str) -> dict[str, Any]:
    """Return the plan that an example comes to."""
    made: dict[str, Any] = rendered(name, "__llm_declared | homelab.llm_gateway.catalog_plan")
    return made


def model_policy(name: str) -> dict[str, Any]:
    """Return what the running gateway knows about an example's models."""
    known: dict[str, Any] = plan(name)["gateway_policy"]["models"]
    return known


def backends(name: str) -> dict[str, dict[str, Any]]:
    """Return LiteLLM's parameters of each backend of an example, by its name."""
    return {entry["model_info"]["id"]: entry["litellm_params"] for entry in plan(name)["litellm_config"]["model_list"]}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_no_mistake_and_no_surprise(name: str) -> None:
    assert rendered(name, "__llm_problems") == []
    assert plan(name)["warnings"] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_sets_all_that_the_project_sets(name: str) -> None:
    def variables(folder: Path) -> set[str]:
        files = [file for file in folder.glob("*.yml") if file.name != "vault.yml"]
        return {variable for file in files for variable in yaml.safe_load(file.read_text())}

    project = variables(REPOSITORY / "group_vars/all")
    assert project - variables(EXAMPLES / name / "group_vars/all") == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_vault_of_an_example_lists_exactly_what_it_needs(name: str) -> None:
    listed = yaml.safe_load((EXAMPLES / name / "group_vars/all/vault.yml.example").read_text())
    assert listed.keys() == vault_variables(name)


@pytest.mark.parametrize("file", ["drill.yml", "images.yml"])
@pytest.mark.parametrize("name", NAMES)
def test_what_no_example_changes_stays_that_of_the_project(name: str, file: str) -> None:
    link = EXAMPLES / name / "group_vars/all" / file
    assert link.is_symlink()
    assert link.resolve() == REPOSITORY / "group_vars/all" / file


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_page_that_is_listed(name: str) -> None:
    assert f"]({name}/README.md)" in (EXAMPLES / "README.md").read_text()
    page = (EXAMPLES / name / "README.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [
        "What it does",
        "What it costs",
        "What to edit",
        "How to use it",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_hosted_model_is_left_in_under_three_seconds(name: str) -> None:
    waits = {id_: params["stream_timeout"] for id_, params in backends(name).items() if "/ollama/" not in id_}
    assert waits
    assert [id_ for id_, wait in waits.items() if wait > 2] == []


def test_cost_first() -> None:
    made = plan("cost-first")
    assert made["ports"][0]["port"] == 8001
    assert made["gateway_policy"]["providers"] == {
        "anthropic": {"monthly_budget_usd": 100, "fallback_at_percent": 80},
        "openai": {"monthly_budget_usd": 50, "fallback_at_percent": 80},
    }
    models = model_policy("cost-first")
    assert {name: model["fallbacks"] for name, model in models.items()} == {
        "claude": ["gpt", "local"],
        "gpt": ["local"],
        "local": [],
    }
    assert {model["cache_ttl"] for model in models.values()} == {3600}
    found = backends("cost-first")
    assert {params["timeout"] for params in found.values()} == {30}
    assert [params["rpm"] for params in found.values() if "rpm" in params] == [100, 50]


def test_one_gateway() -> None:
    assert rendered("one-gateway", "litellm_replicas") == 4
    models = model_policy("one-gateway")
    assert {model["cache_ttl"] for model in models.values()} == {600}
    found = backends("one-gateway")
    for name in ("local-model", "local-fast"):
        (params,) = (params for id_, params in found.items() if id_.startswith(f"{name}/llamacpp/"))
        assert params["api_base"].startswith("http://")
        assert set(models[name]["fallbacks"]) == {"claude", "gpt"}
    assert list(plan("one-gateway")["gateway_policy"]["clients"]) == ["chat-ui"]
    assert plan("one-gateway")["ollama_models"] == []


def test_team_preferences() -> None:
    made = plan("team-preferences")
    assert made["ports"][0]["port"] == 4010
    clients = made["gateway_policy"]["clients"]
    assert len(clients) >= 3
    for name, client in clients.items():
        assert client["fallback_on"] == [400, 401, 403, 404], name
        assert client["default_model"], name
        assert client["fallback_model"], name
        assert "embed" in client["models"], name


def test_resilient_chat() -> None:
    made = plan("resilient-chat")
    assert [id_.split("@")[0] for id_ in backends("resilient-chat")] == [
        "chat/together_ai/deepseek-ai/DeepSeek-V3.1",
        "local/ollama/mistral:7b-instruct",
    ]
    router = made["litellm_config"]["router_settings"]
    assert (router["allowed_fails"] + 1, router["cooldown_time"]) == (3, 60)
    assert {client["rpm"] for client in made["gateway_policy"]["clients"].values()} == {100}
    assert made["litellm_config"]["litellm_settings"]["json_logs"] is True
    assert made["litellm_environment"]["SENTRY_DSN"] == planted("vault_sentry_dsn")
    assert rendered("resilient-chat", "llm_monitoring_networks") == ["192.0.2.0/24"]
