"""What a drill runs, from plans of real catalogs."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
import yaml

from plugins.module_utils.catalog.plan import make_plan
from plugins.module_utils.drill.containers import drill_containers
from plugins.module_utils.drill.plan import KEY_OWNERS, drill_plan
from tests.unit.catalog_samples import MODELS, PROVIDERS, declaration

KEYS = {owner: f"sk-of-{owner}-{'x' * 32}" for owner in KEY_OWNERS}
LOCAL_MODELS: list[Any] = [
    {"name": "embed", "mode": "embedding", "backends": [{"provider": "ollama", "model": "nomic-embed-text"}]},
    {"name": "local", "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}]},
]


def drilled(gateway: dict[str, Any], cooldown_seconds: float = 10) -> dict[str, Any]:
    return drill_plan(
        gateway["litellm_config"],
        gateway["gateway_policy"],
        gateway["litellm_environment"],
        KEYS,
        cooldown_seconds,
        gateway["switched_off"],
    )


def entries(plan: dict[str, Any], model: str) -> list[dict[str, Any]]:
    return [entry for entry in plan["config"]["model_list"] if entry["model_name"] == model]


def case(plan: dict[str, Any], name: str, model: str = "") -> dict[str, Any]:
    (found,) = [case for case in plan["cases"] if case["name"] == name and case.get("model", "") == model]
    return dict(found)


def names(plan: dict[str, Any]) -> list[str]:
    return [case["name"] for case in plan["cases"]]


def test_no_hosted_provider_is_reachable_and_no_key_of_one_goes_along() -> None:
    gateway = make_plan(declaration())
    plan = drilled(gateway)
    outside = [
        entry["litellm_params"]["api_base"]
        for entry in plan["config"]["model_list"]
        if not entry["litellm_params"].get("api_base", "").startswith(("http://drill-backend:", "http://ollama:11434"))
    ]
    assert outside == []
    text = json.dumps(plan)
    for provider in PROVIDERS.values():
        assert provider.get("api_key", "no key at all") not in text
    assert gateway["litellm_environment"]["LITELLM_MASTER_KEY"] not in text
    assert plan["environment"].keys() == gateway["litellm_environment"].keys()
    assert plan["environment"]["REDIS_PASSWORD"] == gateway["litellm_environment"]["REDIS_PASSWORD"]
    assert plan["environment"]["PROVIDER_ANTHROPIC_API_KEY"] == "drill"


def test_the_gateways_plan_stays_as_it_is() -> None:
    gateway = make_plan(declaration())
    before = copy.deepcopy(gateway)
    drilled(gateway)
    assert gateway == before


def test_each_provider_has_its_own_port_and_dialect() -> None:
    providers = {**PROVIDERS, "gemini": {"api_key": "gemini-key"}}
    models = [*MODELS, {"name": "flash", "backends": [{"provider": "gemini", "model": "gemini-3-flash"}]}]
    plan = drilled(make_plan(declaration(providers=providers, models=models)))
    ports = plan["providers"]
    assert len(set(ports.values())) == len(ports)
    assert {"anthropic", "openai", "llamacpp", "gemini", "drill-first", "drill-second", "drill-budget"} == set(ports)
    (smart,) = entries(plan, "smart")
    assert smart["litellm_params"]["model"] == "anthropic/claude-opus-4-5"
    assert smart["litellm_params"]["api_base"] == f"http://drill-backend:{ports['anthropic']}"
    bases = [entry["litellm_params"]["api_base"] for entry in entries(plan, "general")]
    assert bases == [f"http://drill-backend:{ports[name]}/v1" for name in ("openai", "llamacpp")]
    (flash,) = entries(plan, "flash")
    assert flash["litellm_params"]["model"] == "openai/gemini-3-flash"


def test_nothing_in_redis_is_shared_with_the_gateway() -> None:
    gateway = make_plan(declaration())
    plan = drilled(gateway)
    ids = [entry["model_info"]["id"] for entry in plan["config"]["model_list"]]
    assert len(set(ids)) == len(ids)
    assert all(identifier.startswith("drill/") for identifier in ids)
    assert set(plan["policy"]["deployments"]) == set(ids)
    assert plan["policy"]["namespace"] == "drill"
    assert plan["config"]["litellm_settings"]["cache_params"]["namespace"] == "drill"
    assert set(plan["policy"]["clients"]) == {"drill", "drill-limited", "drill-spending"}
    assert not set(plan["policy"]["clients"]) & set(gateway["gateway_policy"]["clients"])


def test_clients_are_known_by_hashes_and_have_their_limits() -> None:
    clients = drilled(make_plan(declaration()))["policy"]["clients"]
    assert clients["drill"]["key_hashes"] == [hashlib.sha256(KEYS["drill"].encode()).hexdigest()]
    assert {"smart", "drill-cloud", "drill-local"} <= set(clients["drill"]["models"])
    assert clients["drill-limited"]["rpm"] == 3
    assert clients["drill-spending"]["monthly_budget_usd"] == 0.04


def test_what_would_blur_a_fault_is_off() -> None:
    models = copy.deepcopy(MODELS)
    models[0]["cache_ttl"] = 600
    models[0]["backends"][0]["rpm"] = 1
    settings = {"llm_sentry_dsn": "https://abc@sentry.example.org/7"}
    gateway = make_plan(declaration(models=models, settings=settings))
    assert gateway["litellm_config"]["router_settings"]["optional_pre_call_checks"]
    plan = drilled(gateway, 12)
    assert "optional_pre_call_checks" not in plan["config"]["router_settings"]
    assert "rpm" not in entries(plan, "smart")[0]["litellm_params"]
    assert plan["config"]["litellm_settings"]["cache_params"]["supported_call_types"] == []
    assert "failure_callback" not in plan["config"]["litellm_settings"]
    assert plan["policy"]["models"]["smart"]["cache_ttl"] is None
    assert plan["config"]["router_settings"]["cooldown_time"] == 12
    assert plan["config"]["router_settings"]["allowed_fails"] == 2


def test_the_drills_own_chain_is_there_for_a_catalog_without_hosted_providers() -> None:
    plan = drilled(make_plan(declaration(providers={}, models=LOCAL_MODELS)))
    (cloud,) = entries(plan, "drill-cloud")
    assert cloud["litellm_params"]["stream_timeout"] == 2
    assert {"drill-cloud": ["drill-standby"]} in plan["config"]["router_settings"]["fallbacks"]
    assert len(entries(plan, "drill-pair")) == 2
    (local,) = entries(plan, "drill-local")
    assert local["litellm_params"]["model"] == "openai/qwen3.5:2b"
    assert not [name for name in names(plan) if name.startswith("chain")]
    assert {"refused", "hang", "ollama_stopped", "redis_hung", "load", "streams"} <= set(names(plan))


def test_what_is_switched_off_is_not_drilled() -> None:
    remote = [{"name": "general", "backends": [{"provider": "openai", "model": "gpt-5.4"}]}]
    plan = drilled(make_plan(declaration(models=remote, switched_off=("redis", "ollama"))))
    assert names(plan) == ["refused", "error_500", "error_429", "hang", "cut", "streams"]
    assert entries(plan, "drill-local") == []


def test_declared_chains_are_drilled_with_what_a_hang_costs_them() -> None:
    plan = drilled(make_plan(declaration()))
    refused = case(plan, "chain_refused", "smart")
    assert refused["title"] == "model smart: anthropic refuses"
    assert refused["providers"] == ["anthropic"]
    assert refused["answering"] == ["general", "local"]
    assert case(plan, "chain_hang", "smart")["hang_seconds"] == 10
    assert case(plan, "chain_refused", "general")["title"] == "model general: llamacpp, openai refuse"


def test_a_chain_at_one_provider_adds_the_timeouts_up_and_long_hangs_are_left_out() -> None:
    models = [
        {
            "name": "big",
            "backends": [{"provider": "openai", "model": "gpt-5.4"}],
            "fallbacks": ["small"],
            "first_token_timeout": 40,
        },
        {
            "name": "small",
            "backends": [{"provider": "openai", "model": "gpt-5.4"}],
            "fallbacks": ["local"],
            "first_token_timeout": 30,
        },
        *LOCAL_MODELS,
    ]
    plan = drilled(make_plan(declaration(models=models)))
    assert case(plan, "chain_refused", "big")["answering"] == ["local"]
    assert case(plan, "chain_refused", "big")["hang_seconds"] == 70
    assert ("chain_hang", "big") not in {(case["name"], case.get("model")) for case in plan["cases"]}
    assert case(plan, "chain_hang", "small")["hang_seconds"] == 30


def test_models_that_ollama_leads_are_asked_while_it_is_stopped() -> None:
    providers = {"openai": {"api_key": "sk-openai-key", "monthly_budget_usd": 5}}
    models = [
        {
            "name": "local",
            "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}],
            "fallbacks": ["general"],
            "timeout": 77,
        },
        {"name": "general", "backends": [{"provider": "openai", "model": "gpt-5.4"}]},
    ]
    found = case(drilled(make_plan(declaration(providers=providers, models=models))), "ollama_stopped")
    assert found["chain"] == ["local"]
    assert found["wait_seconds"] == 77


def test_a_declared_model_with_a_name_of_the_drill_is_refused() -> None:
    models = [{"name": "drill-cloud", "backends": [{"provider": "openai", "model": "gpt-5.4"}]}]
    with pytest.raises(ValueError, match=r"the drill needs the names drill-cloud\. Rename"):
        drilled(make_plan(declaration(models=models)))


def test_a_cooldown_that_forgets_failures_is_refused() -> None:
    with pytest.raises(ValueError, match="drill_cooldown_seconds is 5: write 8 or more"):
        drilled(make_plan(declaration()), 5)


COMPOSE = yaml.safe_load("""
name: llm-gateway-litellm
services:
  litellm-1:
    container_name: llm-gateway-litellm-1
    read_only: true
    image: ghcr.io/berriai/litellm@sha256:abc
    user: "74040:74040"
    entrypoint: [/bin/sh, /etc/litellm/start.sh]
    environment: {HOME: /tmp, PYTHONPATH: /etc/litellm}
    volumes: ["./config:/etc/litellm:ro,z", "./secrets:/run/litellm-secrets:ro,z"]
    tmpfs: [/tmp]
    mem_limit: 2g
    pids_limit: 1024
    stop_grace_period: 70s
    healthcheck: {test: [CMD, "true"]}
    labels: {llm-gateway.files-sha256: abc}
    networks: [llm-gateway]
""")


def test_the_replica_is_the_running_one_with_another_configuration() -> None:
    found = drill_containers(COMPOSE, "/opt/llm-gateway/litellm/config", {"openai": 8101})
    running = COMPOSE["services"]["litellm-1"]
    for same in ("image", "user", "entrypoint", "environment", "mem_limit", "healthcheck", "tmpfs"):
        assert found["drill"][same] == running[same]
    assert found["drill"]["volumes"] == [
        "/opt/llm-gateway/litellm/config:/etc/litellm:ro,z",
        "./config/config.yaml:/etc/litellm/config.yaml:ro,z",
        "./secrets:/run/litellm-secrets:ro,z",
    ]
    assert not {"container_name", "labels", "networks", "ports"} & found["drill"].keys()


def test_the_stand_in_is_bounded_and_not_published() -> None:
    backend = drill_containers(COMPOSE, "/etc/x", {"openai": 8101, "drill-first": 8102})["drill-backend"]
    assert backend["entrypoint"][-2:] == ["openai=8101", "drill-first=8102"]
    assert backend["user"] == "74040:74040"
    assert backend["mem_limit"]
    assert backend["pids_limit"]
    assert "ports" not in backend
    assert not [volume for volume in backend["volumes"] if "secrets" in volume]


def test_without_a_running_replica_there_is_no_drill() -> None:
    with pytest.raises(ValueError, match="run make apply first"):
        drill_containers({"services": {}}, "/etc/x", {})
