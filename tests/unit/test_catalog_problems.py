"""Every mistake in a declaration is reported, with the file, the key and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([model(bakends=[])], MODELS_FILE + "llm_models[local].bakends: unknown key. Did you mean 'backends'?"),
        ([LOCAL, LOCAL], MODELS_FILE + "llm_models[local].name: two models have this name."),
        (
            [model(fallbacks=["lokal"])],
            MODELS_FILE + "llm_models[local].fallbacks[0]: 'lokal' is not a declared model. Did you mean 'local'?",
        ),
        (
            [model(fallbacks=["local"])],
            MODELS_FILE + "llm_models[local].fallbacks[0]: a model cannot be its own fallback.",
        ),
        ([model(fallbacks="general")], MODELS_FILE + "llm_models[local].fallbacks: is not a list but text."),
        (
            [model(fallbacks=["embed"]), EMBED],
            MODELS_FILE + "llm_models[local].fallbacks[0]: 'embed' is for embedding, 'local' for chat.",
        ),
        (
            [LOCAL, {**EMBED, "fallbacks": ["local"]}],
            MODELS_FILE + "llm_models[embed].fallbacks[0]: 'local' is for chat, 'embed' for embedding.",
        ),
        (
            [model(fallbacks=["b"]), model(name="b", fallbacks=["c"]), model(name="c", fallbacks=["local"])],
            MODELS_FILE + "llm_models[local].fallbacks: the fallbacks go in a circle: local -> b -> c -> local.",
        ),
        (
            [model(backends=[{"provider": "ollama", "model": "nomic-embed-text"}])],
            MODELS_FILE + "llm_models[local].backends[0].model: 'nomic-embed-text' makes embeddings and cannot chat.",
        ),
        (
            [{**EMBED, "backends": [{"provider": "anthropic", "model": "x"}]}],
            MODELS_FILE + "llm_models[embed].backends[0].provider: anthropic offers no embeddings.",
        ),
        (
            [model(backends=[{"provider": "olama", "model": "x"}])],
            MODELS_FILE + "llm_models[local].backends[0].provider: 'olama' is not declared. Did you mean 'ollama'?",
        ),
        (
            [model(backends=[{"provider": "ollama", "model": "gpt-oss:120b-cloud"}])],
            MODELS_FILE
            + "llm_models[local].backends[0].model: 'gpt-oss:120b-cloud' would send requests to Ollama's cloud.",
        ),
        (
            [model(backends=LOCAL["backends"] * 2)],
            MODELS_FILE + "llm_models[local].backends[1]: the same backend stands here twice.",
        ),
        ([model(backends=[])], MODELS_FILE + "llm_models[local].backends: is an empty list."),
        ([model(backends=[{"provider": "ollama"}])], MODELS_FILE + "llm_models[local].backends[0].model: is missing."),
        ([model(timeout="2m")], MODELS_FILE + "llm_models[local].timeout: is not a number of seconds but text."),
        ([model(timeout=0)], MODELS_FILE + "llm_models[local].timeout: 0 is not between 0 and 86400 seconds."),
        (
            [model(timeout=5, first_token_timeout=10)],
            MODELS_FILE + "llm_models[local].first_token_timeout: 10 s is longer than the whole answer may take (5 s).",
        ),
        ([model(mode="chats")], MODELS_FILE + "llm_models[local].mode: 'chats' is not one of chat, embedding."),
        (
            [model(name="default")],
            MODELS_FILE + "llm_models[default].name: 'default' is kept for a client's default model.",
        ),
        ([model(name="a b")], MODELS_FILE + "llm_models[a b].name: 'a b' is not a model name."),
        ([{"backends": LOCAL["backends"]}], MODELS_FILE + "llm_models[0].name: is missing."),
        (["local"], MODELS_FILE + "llm_models[0]: is not a mapping but text."),
        ([], MODELS_FILE + "llm_models: is an empty list."),
        ({}, MODELS_FILE + "llm_models: is not a list but a mapping."),
        (None, MODELS_FILE + "llm_models: is not a list but empty."),
    ],
)
def test_a_mistake_in_the_models(models: Any, expected: str) -> None:
    assert any(line.startswith(expected) for line in report(models=models)), report(models=models)


@pytest.mark.parametrize(
    ("providers", "expected"),
    [
        (
            {"openai": {}},
            PROVIDERS_FILE + 'llm_providers.openai.api_key: is missing. Write api_key: "{{ vault_openai_api_key }}"',
        ),
        ({"openai": {"api_key": ""}}, PROVIDERS_FILE + "llm_providers.openai.api_key: is empty."),
        (
            {"openai": {"apikey": "x"}},
            PROVIDERS_FILE + "llm_providers.openai.apikey: unknown key. Did you mean 'api_key'?",
        ),
        (
            {"openai": {"api_key": Undefined("vault_openai_api_key")}},
            PROVIDERS_FILE + "llm_providers.openai.api_key: vault_openai_api_key is not defined. Run `make secrets`",
        ),
        (
            {"openai": {"api_key": "changeme"}},
            PROVIDERS_FILE + "llm_providers.openai.api_key: is a placeholder, not a key.",
        ),
        ({"openai": {"api_key": "a b"}}, PROVIDERS_FILE + "llm_providers.openai.api_key: holds a blank"),
        (
            {"mine": {"api_key": "k"}},
            PROVIDERS_FILE + "llm_providers.mine: 'mine' is not a service this gateway knows. Add kind:",
        ),
        ({"mine": {"kind": "openai_compatible"}}, PROVIDERS_FILE + "llm_providers.mine.api_base: is missing."),
        (
            {"mine": {"kind": "openai_compatible", "api_base": "10.0.0.7:80"}},
            PROVIDERS_FILE + "llm_providers.mine.api_base: is not an address that starts with http",
        ),
        (
            {"mine": {"kind": "opnai", "api_key": "k"}},
            PROVIDERS_FILE + "llm_providers.mine.kind: 'opnai' is not one of",
        ),
        ({"ollama": {}}, PROVIDERS_FILE + "llm_providers.ollama: is always there and takes no settings."),
        (
            {"Open-AI": {"kind": "openai", "api_key": "k"}},
            PROVIDERS_FILE + "llm_providers.Open-AI: is not a provider name.",
        ),
        ({"openai": None}, PROVIDERS_FILE + "llm_providers.openai: is not a mapping but empty."),
        ([], PROVIDERS_FILE + "llm_providers: is not a mapping but a list."),
        (
            {"openai": {"api_key": "same"}, "anthropic": {"api_key": "same"}},
            PROVIDERS_FILE + "llm_providers.anthropic.api_key: is the same secret as llm_providers.openai.api_key.",
        ),
    ],
)
def test_a_mistake_in_the_providers(providers: Any, expected: str) -> None:
    assert any(line.startswith(expected) for line in report(providers=providers, models=[LOCAL])), report(
        providers=providers, models=[LOCAL]
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"llm_master_key": Undefined("vault_litellm_master_key")},
            GATEWAY_FILE + "llm_master_key: vault_litellm_master_key is not defined. Run `make secrets`",
        ),
        ({"llm_master_key": ""}, VAULT_FILE + "vault_litellm_master_key: is empty."),
        ({"llm_master_key": "sk-1234"}, VAULT_FILE + "vault_litellm_master_key: is a key from public documentation."),
        ({"llm_master_key": "sk-short"}, VAULT_FILE + "vault_litellm_master_key: is weak"),
        ({"llm_redis_password": "a" * 40}, VAULT_FILE + "vault_redis_password: is weak"),
        (
            {"llm_redis_password": SETTINGS["llm_redis_password"] + "\nx"},
            VAULT_FILE + "vault_redis_password: holds more than letters, digits, - and _.",
        ),
        (
            {"llm_redis_password": SETTINGS["llm_master_key"]},
            VAULT_FILE + "vault_redis_password: is the same secret as vault_litellm_master_key.",
        ),
        ({"llm_port": "four"}, GATEWAY_FILE + "llm_port: is not a port number but text. Write llm_port: 4000"),
        (
            {"llm_redis_password": 'a"b' + "c'd-12345678901234567890123456789"},
            VAULT_FILE + "vault_redis_password: holds more",
        ),
        ({"llm_port": 70000}, GATEWAY_FILE + "llm_port: 70000 is not between 1 and 65535."),
        (
            {"llm_bind_address": Undefined("llm_bind_address")},
            "the inventory: llm_bind_address: is not set. Write llm_bind_address: 127.0.0.1",
        ),
        ({"llm_bind_address": "box.lan"}, "the inventory: llm_bind_address: 'box.lan' is not an IPv4 address."),
        ({"llm_bind_address": "1.2.3.400"}, "the inventory: llm_bind_address: '1.2.3.400' is not an IPv4 address."),
        ({"llm_data_dir": "models"}, GATEWAY_FILE + "llm_data_dir: 'models' is not an absolute path."),
        ({"llm_verify_paid": "never"}, GATEWAY_FILE + "llm_verify_paid: is not true or false but text."),
    ],
)
def test_a_mistake_in_the_settings(settings: dict[str, Any], expected: str) -> None:
    assert any(line.startswith(expected) for line in report(settings=settings)), report(settings=settings)


@pytest.mark.parametrize(
    ("image", "changes", "expected"),
    [
        (
            "litellm",
            {"tag": "v1.83.14"},
            "llm_images.litellm.tag: v1.83.14 has known security holes. Use 1.84.0 or newer.",
        ),
        ("litellm", {"tag": "main-stable"}, "llm_images.litellm.tag: 'main-stable' does not name a version"),
        ("ollama", {"tag": "latest"}, "llm_images.ollama.tag: 'latest' does not name a version"),
        ("ollama", {"tag": "0.17.0"}, "llm_images.ollama.tag: 0.17.0 has known security holes."),
        ("redis", {"tag": "8.2.1-alpine"}, "llm_images.redis.tag: 8.2.1-alpine has known security holes."),
        ("litellm", {"tag": "v1.84.0-rc.1"}, "llm_images.litellm.tag: v1.84.0-rc.1 has known security holes."),
        ("litellm", {"tag": "1.84.0rc1"}, "llm_images.litellm.tag: 1.84.0rc1 has known security holes."),
        ("redis", {"digest": "sha256:abc"}, "llm_images.redis.digest: is not a digest."),
        ("redis", {"tga": "8"}, "llm_images.redis.tga: unknown key. Did you mean 'tag'?"),
    ],
)
def test_a_mistake_in_the_images(image: str, changes: dict[str, Any], expected: str) -> None:
    lines = report(images={**IMAGES, image: {**IMAGES[image], **changes}})
    assert [line.startswith(IMAGES_FILE + expected) for line in lines] == [True], lines


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
        settings={"llm_master_key": secret, "llm_redis_password": secret},
        providers={**PROVIDERS, "openai": {"api_key": secret}, "mistral": {"api_key": secret, "apikey": secret}},
        models=MODELS,
    )
    assert len(lines) > 3
    assert not [line for line in lines if secret in line]


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
    assert report(switched_off=("ollama", "litellm", "redis")) == []
    assert report(switched_off=("ollama", "litellm", "redis"), ollama_boxes=()) == []


def test_what_is_switched_off_is_neither_fetched_nor_checked() -> None:
    made = plan.make_plan(declaration(switched_off=("ollama", "litellm")))
    assert (made["ports"], made["ollama_models"]) == ([], [])
    assert [image.split("/")[-1].split(":")[0] for image in made["images_to_hold"]] == ["redis"]


def test_a_plan_is_refused_with_the_same_problems() -> None:
    with pytest.raises(plan.RefusedDeclaration, match="two models have this name"):
        plan.make_plan(declaration(models=[LOCAL, LOCAL]))
