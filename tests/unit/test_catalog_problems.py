"""Every mistake in a declaration is reported, with the file, the key and what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils.catalog import plan
from plugins.module_utils.catalog.fields import Undefined
from tests.unit.catalog_samples import IMAGES, MODELS, PROVIDERS, SETTINGS, declaration

LOCAL: dict[str, Any] = {"name": "local", "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}]}
EMBED = {"name": "embed", "mode": "embedding", "backends": [{"provider": "ollama", "model": "nomic-embed-text"}]}
MODELS_FILE = "group_vars/all/models.yml: "
PROVIDERS_FILE = "group_vars/all/providers.yml: "
IMAGES_FILE = "group_vars/all/images.yml: "
GATEWAY_FILE = "group_vars/all/gateway.yml: "
ANYWHERE = "group_vars, host_vars or the inventory: "
VAULT_FILE = "group_vars/all/vault.yml: "


def report(**changes: Any) -> list[str]:
    return [str(problem) for problem in plan.check(declaration(**changes))]


def model(**changes: Any) -> dict[str, Any]:
    return {**LOCAL, **changes}


def test_a_right_declaration_has_no_problem() -> None:
    assert report() == []


class Declared(yaml.SafeLoader):
    """Reads `!missing name` as a variable that is not defined."""


Declared.add_constructor("!missing", lambda _loader, node: Undefined(node.value))
TABLE = (Path(__file__).parent / "golden/refused.yml").read_text(encoding="utf-8")
REFUSED: list[dict[str, Any]] = Declared(TABLE).get_single_data()
# What a case names here is put among what is right; anything else takes its place.
AMONG = {"providers": PROVIDERS, "images": IMAGES}


def refused_id(case: dict[str, Any]) -> str:
    return str(case["says"].split(": ", 1)[1][:80])


@pytest.mark.parametrize("case", REFUSED, ids=refused_id)
def test_a_bad_declaration_is_refused_with_these_words_and_no_others(case: dict[str, Any]) -> None:
    changes = {name: value for name, value in case.items() if name != "says"}
    for name, right in AMONG.items():
        if isinstance(changes.get(name), dict):
            changes[name] = {**right, **changes[name]}
    assert report(**changes) == case["says"].splitlines()


def test_every_case_of_the_table_breaks_another_rule() -> None:
    assert len({case["says"] for case in REFUSED}) == len(REFUSED) > 150


def test_an_image_that_is_missing() -> None:
    lines = report(images={name: image for name, image in IMAGES.items() if name != "redis"})
    assert lines == [IMAGES_FILE + "llm_images.redis: is missing. Write repository, tag and digest."]


@pytest.mark.parametrize("tag", ["1.84.0", "v1.84.0", "v1.108.10", "1.90.0rc1", "v1.84.0.post1", "1.90.0-alpine3.20"])
def test_an_image_at_or_above_its_floor_is_accepted(tag: str) -> None:
    assert report(images={**IMAGES, "litellm": {**IMAGES["litellm"], "tag": tag}}) == []


def test_a_misspelt_variable_is_named_and_others_are_left_alone() -> None:
    lines = report(
        variable_names=(
            "litellm_prot",
            "llm_modles",
            "litellm_port",
            "ansible_user",
            "docker_thing",
            "redistribution",
        )
    )
    assert len(lines) == 2
    assert lines[0].startswith(
        ANYWHERE + "litellm_prot: role litellm has no variable of this name. Did you mean 'litellm_port'?"
    )
    assert lines[1].startswith(
        ANYWHERE + "llm_modles: the gateway has no variable of this name. Did you mean 'llm_models'?"
    )


def test_no_ollama_box_and_a_box_out_of_reach() -> None:
    assert any("no box runs Ollama for this gateway" in line for line in report(ollama_boxes=()))
    lines = report(ollama_boxes=("box", "other"))
    assert len(lines) == 1
    assert lines[0].startswith("the inventory: group ollama: other: no gateway runs on it")
    assert report(ollama_boxes=("box", "other"), gateway_boxes=("box", "other")) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"llm_models_dir": "/opt/llm-gateway/ollama"},
        {"llm_models_dir": "/opt/llm-gateway/redis/models"},
        {"llm_models_dir": "/opt"},
        {"llm_data_dir": "/opt/llm-gateway"},
    ],
)
def test_data_in_a_folder_that_is_swept_is_refused(settings: dict[str, Any]) -> None:
    lines = report(settings=settings)
    assert len(lines) == 1
    assert lines[0].startswith(f"{GATEWAY_FILE}{next(iter(settings))}: ")
    assert "Name a folder apart from llm_deploy_dir" in lines[0]


def test_all_mistakes_come_at_once() -> None:
    lines = report(
        settings={"llm_port": 0},
        providers={"openai": {}},
        models=[model(fallbacks=["x"]), model(bakends=[])],
        images={**IMAGES, "redis": {**IMAGES["redis"], "tag": "8.0.0"}},
        variable_names=("redis_maxmem",),
    )
    for part in ("llm_port", "openai.api_key", "fallbacks[0]", "bakends", "two models", "8.0.0", "redis_maxmem"):
        assert any(part in line for line in lines), part


def test_no_message_holds_a_secret() -> None:
    secret = "hunter2-hunter2"
    lines = report(
        settings={"llm_master_key": secret, "llm_redis_password": secret, "llm_sentry_dsn": secret},
        providers={**PROVIDERS, "openai": {"api_key": secret}, "mistral": {"api_key": secret, "apikey": secret}},
        models=MODELS,
        clients=[
            {"name": "a", "key": secret},
            {"name": "b", "keys": secret},
            {"name": "c", "keys": [secret, {secret: 1}, secret + " ", secret]},
            {"name": "d", "key": [secret], "kye": secret},
        ],
    )
    assert len(lines) > 3
    assert not [line for line in lines if secret in line]


KEY = "client-key-A1b2C3d4E5f6G7h8J9k0L1m2"
OTHER_KEY = "client-key-Z9y8X7w6V5u4T3s2R1q0P9n8"


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": [{"name": "app", "keys": [KEY, OTHER_KEY]}]},
        {"clients": [{"name": "7-of_9.x", "key": KEY, "default_model": "embed"}]},
        {"clients": [{"name": "a", "key": KEY, "models": ["smart"], "fallback_on": [400]}]},
        {
            "default_fallbacks": ["local"],
            "clients": [{"name": "a", "key": KEY, "models": ["local"], "fallback_on": [503]}],
        },
        {"settings": {"llm_sentry_dsn": "https://key@sentry.lan:9000/prefix/4"}},
        {"settings": {"llm_sentry_dsn": "http://key:secret@10.0.0.7/4"}},
        {"settings": {"llm_monitoring_networks": ["10.0.0.0/24", "10.1.2.3", "fd00::/8"]}},
        {"settings": {"llm_budget_unavailable": "closed"}},
    ],
)
def test_what_is_right_is_accepted(changes: dict[str, Any]) -> None:
    assert report(**changes) == []


def priced(provider: str, upstream: str, price: dict[str, float] | None = None) -> dict[str, Any]:
    backend = {"provider": provider, "model": upstream, **({"price": price} if price else {})}
    return {"name": "smart", "backends": [backend]}


@pytest.mark.parametrize(
    ("kind", "upstream"),
    [
        ("anthropic", "claude-opus-4-5"),
        ("anthropic", "anthropic/claude-opus-4-5"),
        ("openai", "gpt-5.4-2026-03-05"),
        ("openai", "GPT-5.4"),
        ("openai", "ft:gpt-4o:my-org::id"),
        ("gemini", "gemini-3-flash-001"),
        ("together_ai", "deepseek-ai/DeepSeek-V3"),
    ],
)
def test_a_price_is_found_under_the_names_that_litellm_looks_up(kind: str, upstream: str) -> None:
    providers = {kind: {"api_key": "k", "monthly_budget_usd": 5}}
    assert report(providers=providers, models=[priced(kind, upstream)]) == []


@pytest.mark.parametrize("upstream", ["gpt-5.4-mini", "ft:gpt-9:my-org::id", "claude-opus-4-5"])
def test_a_price_of_another_model_is_not_taken_for_it(upstream: str) -> None:
    providers = {"openai": {"api_key": "k", "monthly_budget_usd": 5}}
    assert "LiteLLM knows no price" in report(providers=providers, models=[priced("openai", upstream)])[0]


@pytest.mark.parametrize("dollars", [0, 0.25])
def test_a_declared_price_makes_a_budget_countable(dollars: float) -> None:
    price = {"input_per_million_usd": dollars, "output_per_million_usd": dollars}
    compatible = {"kind": "openai_compatible", "api_base": "http://10.0.0.7:8080/v1", "monthly_budget_usd": 5}
    assert report(providers={"mine": compatible}, models=[priced("mine", "x", price)]) == []
    hosted = {"api_key": "k", "monthly_budget_usd": 5}
    assert report(providers={"openrouter": hosted}, models=[priced("openrouter", "x", price)]) == []


def test_a_free_model_may_lead_to_a_bill_that_has_a_limit() -> None:
    smart = priced("anthropic", "claude-opus-4-5")
    limited = {"anthropic": {"api_key": "k", "monthly_budget_usd": 5}}
    assert report(providers=limited, models=[model(fallbacks=["smart"]), smart]) == []
    own_limit = {"name": "app", "key": KEY, "fallback_model": "smart", "monthly_budget_usd": 5}
    assert report(models=[LOCAL, smart], clients=[own_limit]) == []
    nothing_paid = priced("openai", "free-tier", {"input_per_million_usd": 0, "output_per_million_usd": 0})
    assert report(models=[model(fallbacks=["smart"]), nothing_paid]) == []


def test_a_price_for_ollama_only_counts_and_sends_no_bill() -> None:
    price = {"input_per_million_usd": 0.1, "output_per_million_usd": 0.1}
    counted = {"name": "counted", "backends": [{"provider": "ollama", "model": "qwen3.5:9b", "price": price}]}
    assert report(models=[model(fallbacks=["counted"]), counted]) == []


def test_a_model_may_take_long_questions_from_one_that_stands_in_for_it() -> None:
    small, long = model(on_context_overflow="long"), model(name="long", fallbacks=["local"])
    assert report(models=[small, long]) == []


def test_settings_given_on_the_command_line_are_text_and_fine() -> None:
    assert report(settings={"llm_port": "4999", "llm_verify_paid": "true"}) == []
    assert plan.make_plan(declaration(settings={"llm_port": "4999"}))["ports"][0]["port"] == 4999


def test_a_chat_model_whose_name_misleads_can_be_declared() -> None:
    named = model(mode="chat", backends=[{"provider": "ollama", "model": "embed-chat"}])
    assert report(models=[named]) == []


def test_an_address_with_credentials_is_refused_and_not_repeated() -> None:
    address = "https://bob:hunter2@10.0.0.7/v1"
    lines = report(providers={"mine": {"kind": "openai_compatible", "api_base": address}}, models=[LOCAL])
    assert len(lines) == 1
    assert "llm_providers.mine.api_base: holds more than an address" in lines[0]
    assert "hunter2" not in lines[0]


def test_variables_that_were_not_read_at_all_are_one_problem() -> None:
    nothing = {name: Undefined(name) for name in SETTINGS}
    lines = report(settings=nothing)
    assert [line for line in lines if "ln -s" in line] == [lines[0]]
    assert not [line for line in lines if "llm_deploy_dir" in line]


def test_ollama_cannot_be_switched_off_alone_while_models_need_it() -> None:
    assert any("no box runs Ollama" in line for line in report(switched_off=("ollama",)))
    assert report(switched_off=("ollama", "litellm", "redis", "ingress")) == []
    assert report(switched_off=("ollama", "litellm", "redis", "ingress"), ollama_boxes=()) == []


def test_a_machine_to_look_from_must_be_in_the_inventory() -> None:
    looks = {"llm_outside_from": ["laptop", "localhost", "labtop"]}
    (found,) = plan.check(declaration(settings=looks, inventory_boxes=("box", "laptop")))
    assert str(found) == (
        "group_vars/all/gateway.yml: llm_outside_from[2]: 'labtop' is no host of the inventory. "
        "Did you mean 'laptop'? Known: box, laptop."
    )


def test_what_is_switched_off_is_neither_fetched_nor_checked() -> None:
    made = plan.make_plan(declaration(switched_off=("ollama", "litellm", "ingress")))
    assert (made["ports"], made["ollama_models"]) == ([], [])
    assert [image.split("/")[-1].split(":")[0] for image in made["images_to_hold"]["cpu"]] == ["redis"]


def test_ollamas_image_for_amd_is_the_same_version_with_a_digest_of_its_own() -> None:
    digest = "sha256:" + "a" * 64
    ollama = {**IMAGES["ollama"], "digest": "sha256:" + "b" * 64, "rocm_digest": digest}
    made = plan.make_plan(declaration(images={**IMAGES, "ollama": ollama}))
    wanted = f"docker.io/ollama/ollama:0.34.2-rocm@{digest}"
    assert made["images"]["ollama_rocm"] == wanted
    assert wanted not in made["images_to_hold"]["cpu"]
    assert set(made["images_to_hold"]["rocm"]) - set(made["images_to_hold"]["cpu"]) == {wanted}
    tagged = plan.make_plan(declaration(images={**IMAGES, "ollama": {**IMAGES["ollama"], "tag": "0.34.2-rocm"}}))
    assert tagged["images"]["ollama"] == tagged["images"]["ollama_rocm"]


def test_a_plan_is_refused_with_the_same_problems() -> None:
    with pytest.raises(plan.RefusedDeclaration, match="two models have this name"):
        plan.make_plan(declaration(models=[LOCAL, LOCAL]))
