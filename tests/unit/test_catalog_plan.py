"""A right declaration becomes one plan: the golden file shows it whole, properties hold for all others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils.catalog import loading, plan
from tests.unit.catalog_samples import CLIENT_KEYS, EVERYTHING, MODELS, PROVIDERS, declaration

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> Any:
    return yaml.safe_load((GOLDEN / f"{name}.yml").read_text(encoding="utf-8"))


def test_the_litellm_config_is_the_golden_one() -> None:
    assert plan.make_plan(declaration())["litellm_config"] == golden("litellm_config")


def test_every_key_of_the_catalog_reaches_litellm_and_the_hooks() -> None:
    made = plan.make_plan(declaration(**EVERYTHING))
    assert made["litellm_config"] == golden("litellm_config_of_everything")
    assert made["gateway_policy"] == golden("gateway_policy_of_everything")
    (warning,) = made["warnings"]
    assert warning.startswith("llm_clients[laptop]: nothing limits what it may cost at openai; monthly_budget_usd")


def test_the_policy_holds_hashes_of_the_keys_and_no_key() -> None:
    policy = plan.make_plan(declaration(**EVERYTHING))["gateway_policy"]
    assert [hashlib.sha256(key.encode()).hexdigest() for key in CLIENT_KEYS] == [
        digest for client in policy["clients"].values() for digest in client["key_hashes"]
    ]
    assert not [key for key in CLIENT_KEYS if key in yaml.safe_dump(policy)]


def test_default_fallbacks_come_after_a_models_own_and_never_lead_to_itself() -> None:
    models = [MODELS[2], {**MODELS[2], "name": "a", "fallbacks": ["b"]}, {**MODELS[2], "name": "b"}, MODELS[3]]
    made = plan.make_plan(declaration(models=models, default_fallbacks=["local", "b"]))
    assert made["litellm_config"]["router_settings"]["fallbacks"] == [
        {"local": ["b"]},
        {"a": ["b", "local"]},
        {"b": ["local"]},
    ]


def test_long_questions_go_to_a_declared_successor_and_nowhere_else() -> None:
    models = [
        {**MODELS[2], "on_context_overflow": "long"},
        {**MODELS[2], "name": "long", "fallbacks": ["local"]},
        {**MODELS[2], "name": "lone"},
    ]
    router = plan.make_plan(declaration(models=models))["litellm_config"]["router_settings"]
    assert router["context_window_fallbacks"] == [{"local": ["long"]}]


def test_limits_of_backends_are_enforced_and_the_load_is_shared_all_the_same() -> None:
    limited = {"provider": "ollama", "model": "qwen3.5:2b", "rpm": 5}
    models = [{"name": "local", "backends": [limited, {"provider": "llamacpp", "model": "q"}]}, MODELS[3]]
    config = plan.make_plan(declaration(models=models))["litellm_config"]
    assert config["router_settings"]["optional_pre_call_checks"] == ["enforce_model_rate_limits"]
    params = [entry["litellm_params"] for entry in config["model_list"]]
    assert [(given.get("rpm"), given.get("weight")) for given in params] == [(5, 1), (None, 1), (None, None)]


def test_without_a_sentry_project_nothing_is_reported() -> None:
    made = plan.make_plan(declaration())
    assert "failure_callback" not in made["litellm_config"]["litellm_settings"]
    assert not [name for name in made["litellm_environment"] if "SENTRY" in name]


def test_sentry_gets_errors_and_its_address_is_a_secret() -> None:
    dsn = "https://key@sentry.lan/4"
    made = plan.make_plan(declaration(settings={"llm_sentry_dsn": dsn}))
    environment = made.pop("litellm_environment")
    assert (environment["SENTRY_DSN"], environment["SENTRY_API_TRACE_RATE"]) == (dsn, "0")
    assert made["litellm_config"]["litellm_settings"]["failure_callback"] == ["sentry"]
    # As one of `callbacks` it would be sent every question.
    assert "sentry" not in made["litellm_config"]["litellm_settings"]["callbacks"]
    assert dsn not in yaml.safe_dump(made)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("smollm2:135m", 0.58),
        ("qwen3.5:2b", 1.7),
        ("mistral:7b-instruct", 4.7),
        ("qwen3:30b-a3b", 18.5),
        ("mixtral:8x7b", 34.1),
        ("deepseek-r1:1.5b", 1.4),
        ("llama3.1:8b-instruct-q8_0", 9.3),
        ("llama3.1:8b-instruct-fp16", 16.5),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", 2.3),
        ("nomic-embed-text", None),
        ("gemma3n:e4b", None),
        ("bge-m3", None),
        ("phi4-b", None),
    ],
)
def test_the_size_of_a_model_is_read_from_its_name(name: str, gigabytes: float | None) -> None:
    size = loading.weights_size(name)
    assert size is None if gigabytes is None else size == pytest.approx(gigabytes * 1e9, rel=0.05)


@pytest.mark.parametrize(
    ("upstream", "written", "expected"),
    [
        (["qwen3.5:2b"], {}, (600, 120)),
        (["qwen3:30b-a3b"], {}, (725, 245)),
        (["llama3.3:70b"], {}, (965, 485)),
        (["qwen3.5:2b", "qwen3:30b-a3b"], {}, (725, 245)),
        (["qwen3.5:2b", "nomic-embed-text"], {}, (1080, 600)),
        (["qwen3.5:2b"], {"timeout": 60}, (60, 60)),
        (["qwen3.5:2b"], {"first_token_timeout": 2}, (600, 2)),
        (["qwen3.5:2b"], {"first_token_timeout": 900}, (1380, 900)),
        (["qwen3.5:2b"], {"timeout": 30, "first_token_timeout": 2}, (30, 2)),
    ],
)
def test_a_model_on_ollama_gets_the_time_to_be_loaded_from_a_slow_disk(
    upstream: list[str], written: dict[str, Any], expected: tuple[float, float]
) -> None:
    backends = [{"provider": "ollama", "model": name} for name in upstream]
    model = {"name": "m", "mode": "chat", "backends": backends, **written}
    question = plan.make_plan(declaration(models=[model]))["questions"][0]
    assert (question["timeout"], question["first_token_timeout"]) == expected


def test_secrets_stand_in_the_environment_alone() -> None:
    made = plan.make_plan(declaration())
    secrets = made.pop("litellm_environment")
    assert set(secrets) == {
        "LITELLM_MASTER_KEY",
        "REDIS_PASSWORD",
        "PROVIDER_ANTHROPIC_API_KEY",
        "PROVIDER_OPENAI_API_KEY",
    }
    assert not [value for value in secrets.values() if value in yaml.safe_dump(made)]


def test_the_key_of_a_provider_nobody_uses_does_not_reach_the_box() -> None:
    made = plan.make_plan(declaration(models=[MODELS[2]]))
    assert set(made["litellm_environment"]) == {"LITELLM_MASTER_KEY", "REDIS_PASSWORD"}


def test_an_ollama_model_used_twice_is_pulled_once() -> None:
    again = {**MODELS[2], "name": "again"}
    made = plan.make_plan(declaration(models=[MODELS[2], again, MODELS[3]]))
    assert made["ollama_models"] == ["qwen3.5:2b", "nomic-embed-text"]


def test_images_carry_the_digest_when_there_is_one() -> None:
    images = plan.make_plan(declaration())["images"]
    assert images["litellm"] == "ghcr.io/berriai/litellm:v1.108.10"
    assert images["redis"] == "docker.io/library/redis:8.2.3@sha256:" + "0" * 64


def test_questions_know_what_costs_money() -> None:
    questions = {question["name"]: question for question in plan.make_plan(declaration())["questions"]}
    assert {name: question["paid"] for name, question in questions.items()} == {
        "smart": True,
        "general": True,
        "local": False,
        "embed": False,
    }
    assert questions["local"]["backends"] == [{"id": "local/ollama/qwen3.5:2b@box", "description": "qwen3.5:2b on box"}]


def test_a_fallback_of_an_embedding_model_is_a_warning() -> None:
    other = {**MODELS[3], "name": "other", "fallbacks": ["embed"]}
    assert plan.make_plan(declaration(models=[MODELS[3], other]))["warnings"] == [
        "llm_models[other].fallbacks: vectors of embed do not fit its index",
    ]


NAMES = st.sampled_from(["smart", "local", "embed", "general", "default", "a b", "", 7, None])
UPSTREAM = st.sampled_from(["qwen3.5:2b", "nomic-embed-text", "gpt-5.4", "x:cloud", "", None])
BACKENDS = st.fixed_dictionaries(
    {"provider": st.sampled_from(["ollama", "openai", "anthropic", "llamacpp", "nobody", 3]), "model": UPSTREAM},
    optional={
        "modle": st.just("x"),
        "rpm": st.sampled_from([5, 0, 1.5, "5"]),
        "price": st.sampled_from([{"input_per_million_usd": 1, "output_per_million_usd": 2}, {}, 3]),
    },
)
ANY_MODEL = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "mode": st.sampled_from(["chat", "embedding", "voice"]),
        "backends": st.lists(BACKENDS, max_size=3),
        "fallbacks": st.one_of(st.lists(NAMES, max_size=3), st.just("local")),
        "timeout": st.sampled_from([1, 30, 0, -1, "x", 10**9, True]),
        "first_token_timeout": st.sampled_from([1, 60]),
        "bakends": st.just([]),
        "on_context_overflow": NAMES,
        "cache_ttl": st.sampled_from([60, 0, "1h"]),
        "context": st.sampled_from([4096, 0, "8k"]),
        "resident": st.sampled_from([True, False, 1]),
        "tools": st.sampled_from([True, "yes"]),
    },
)
PRICE = {"input_per_million_usd": 1, "output_per_million_usd": 2}
KEYS = [f"client-key-{letter}-0123456789abcdefghij" for letter in "xyz"]
ANY_CLIENT = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y", "admin", "A b", 3]), "key": st.sampled_from([*KEYS, "short", "", None])},
    optional={
        "keys": st.lists(st.sampled_from(KEYS), max_size=3),
        "models": st.one_of(st.lists(NAMES, max_size=3), st.just("local")),
        "default_model": NAMES,
        "fallback_model": NAMES,
        "fallback_on": st.sampled_from([[400], [], [200], 400]),
        "monthly_budget_usd": st.sampled_from([5, 0, "5"]),
        "rpn": st.just(1),
    },
)
CLIENTS: st.SearchStrategy[Any] = st.one_of(st.just([]), st.lists(ANY_CLIENT, max_size=3), st.just({}))
# Mostly right, so that plans are made too.
RIGHT_MODEL = st.builds(
    lambda name, provider, fallbacks, context: {
        "name": name,
        "backends": [{"provider": provider, "model": "m", **({"price": PRICE} if provider == "openai" else {})}],
        "fallbacks": [other for other in dict.fromkeys(fallbacks) if other < name],
        **({"context": context} if context else {}),
        "resident": provider == "ollama" and bool(context),
    },
    st.sampled_from("abcde"),
    st.sampled_from(["ollama", "openai", "llamacpp"]),
    st.lists(st.sampled_from("abcde"), max_size=3),
    st.sampled_from([None, 4096, 8192]),
)
CATALOGS = st.one_of(
    st.lists(ANY_MODEL, max_size=4), st.lists(RIGHT_MODEL, max_size=5, unique_by=lambda model: model["name"])
)
ANY_PROVIDERS = st.dictionaries(
    st.sampled_from(["openai", "anthropic", "llamacpp", "ollama", "Bad"]),
    st.one_of(
        st.fixed_dictionaries(
            {"api_key": st.sampled_from(["k1", "k2", "", None])},
            optional={
                "monthly_budget_usd": st.sampled_from([5, 0.5, 0, "5"]),
                "fallback_at_percent": st.sampled_from([80, 0, 101]),
            },
        ),
        st.just({"kind": "openai_compatible", "api_base": "http://10.0.0.7/v1"}),
        st.none(),
    ),
    max_size=3,
)


@given(models=CATALOGS, providers=ANY_PROVIDERS, clients=CLIENTS, defaults=st.lists(NAMES, max_size=2))
def test_any_catalog_is_refused_with_messages_or_every_reference_resolves(
    models: list[Any], providers: dict[str, Any], clients: Any, defaults: list[Any]
) -> None:
    declared = declaration(models=models, providers=providers, clients=clients, default_fallbacks=defaults)
    problems = plan.check(declared)
    if problems:
        assert all(problem.what and problem.instead and str(problem).count(": ") >= 2 for problem in problems)
        return
    made = plan.make_plan(declared)
    assert_every_reference_resolves(made)


def assert_every_reference_resolves(made: dict[str, Any]) -> None:
    config = made["litellm_config"]
    names = [entry["model_name"] for entry in config["model_list"]]
    ids = [entry["model_info"]["id"] for entry in config["model_list"]]
    assert names
    assert len(ids) == len(set(ids))
    chains = [*config["router_settings"]["fallbacks"], *config["router_settings"].get("context_window_fallbacks", [])]
    for chain in chains:
        for name, targets in chain.items():
            assert name in names
            assert targets
            assert set(targets) <= set(names)
    for variable in environment_names(config):
        assert made["litellm_environment"][variable]
    on_ollama = {
        entry["litellm_params"]["model"].split("/", 1)[1]
        for entry in config["model_list"]
        if entry["litellm_params"].get("api_base", "").startswith("http://ollama:")
    }
    derived = {entry["name"]: entry["from"] for entry in made["ollama_derived_models"]}
    assert {derived.get(name, name) for name in on_ollama} == set(made["ollama_models"])
    assert set(derived) <= on_ollama
    assert set(made["ollama_resident_models"]) <= on_ollama
    assert [question["name"] for question in made["questions"]] == list(dict.fromkeys(names))
    assert {backend["id"] for question in made["questions"] for backend in question["backends"]} == set(ids)
    policy = made["gateway_policy"]
    assert set(policy["deployments"]) == set(ids)
    assert set(policy["models"]) == set(names)
    for client in policy["clients"].values():
        assert client["key_hashes"]
        assert set(client["models"]) <= set(names)
        assert {client["default_model"], client["fallback_model"]} <= {None, *client["models"]}


def environment_names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(environment_names(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(environment_names(item) for item in value))
    if isinstance(value, str) and value.startswith("os.environ/"):
        return {value.split("/", 1)[1]}
    return set()


@given(models=st.lists(RIGHT_MODEL, min_size=1, max_size=5, unique_by=lambda model: model["name"]))
def test_a_catalog_without_dangling_names_always_gives_a_plan(models: list[Any]) -> None:
    declared_names = {model["name"] for model in models}
    for model in models:
        model["fallbacks"] = [name for name in model["fallbacks"] if name in declared_names]
    limited = {name: {**given, "monthly_budget_usd": 5} for name, given in PROVIDERS.items()}
    limited["llamacpp"] = PROVIDERS["llamacpp"]
    assert_every_reference_resolves(plan.make_plan(declaration(models=models, providers=limited)))
