"""A right declaration becomes one plan: the golden file shows it whole, properties hold for all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils.catalog import plan
from tests.unit.catalog_samples import MODELS, declaration

GOLDEN = Path(__file__).parent / "golden" / "litellm_config.yml"


def test_the_litellm_config_is_the_golden_one() -> None:
    assert plan.make_plan(declaration())["litellm_config"] == yaml.safe_load(GOLDEN.read_text())


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
    optional={"modle": st.just("x")},
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
    },
)
# Mostly right, so that plans are made too.
RIGHT_MODEL = st.builds(
    lambda name, provider, fallbacks: {
        "name": name,
        "backends": [{"provider": provider, "model": "m"}],
        "fallbacks": [other for other in dict.fromkeys(fallbacks) if other < name],
    },
    st.sampled_from("abcde"),
    st.sampled_from(["ollama", "openai", "llamacpp"]),
    st.lists(st.sampled_from("abcde"), max_size=3),
)
CATALOGS = st.one_of(
    st.lists(ANY_MODEL, max_size=4), st.lists(RIGHT_MODEL, max_size=5, unique_by=lambda model: model["name"])
)
PROVIDERS = st.dictionaries(
    st.sampled_from(["openai", "anthropic", "llamacpp", "ollama", "Bad"]),
    st.one_of(
        st.fixed_dictionaries({"api_key": st.sampled_from(["k1", "k2", "", None])}),
        st.just({"kind": "openai_compatible", "api_base": "http://10.0.0.7/v1"}),
        st.none(),
    ),
    max_size=3,
)


@given(models=CATALOGS, providers=PROVIDERS)
def test_any_catalog_is_refused_with_messages_or_every_reference_resolves(
    models: list[Any], providers: dict[str, Any]
) -> None:
    declared = declaration(models=models, providers=providers)
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
    for chain in config["router_settings"]["fallbacks"]:
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
    assert on_ollama == set(made["ollama_models"])
    assert [question["name"] for question in made["questions"]] == list(dict.fromkeys(names))
    assert {backend["id"] for question in made["questions"] for backend in question["backends"]} == set(ids)


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
    assert_every_reference_resolves(plan.make_plan(declaration(models=models)))
