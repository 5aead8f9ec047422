"""What Ollama must hold, derive and keep in memory, and under which names LiteLLM asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils.catalog import plan
from plugins.module_utils.catalog.ollama_models import derived_name
from plugins.module_utils.ollama import names
from tests.unit.catalog_samples import declaration


def on_ollama(name: str, upstream: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "backends": [{"provider": "ollama", "model": upstream}], **keys}


def made(*models: dict[str, Any]) -> dict[str, Any]:
    return plan.make_plan(declaration(models=list(models)))


def upstreams(planned: dict[str, Any]) -> list[str]:
    return [entry["litellm_params"]["model"] for entry in planned["litellm_config"]["model_list"]]


def test_a_declared_context_gives_a_derived_model_that_litellm_asks_for() -> None:
    planned = made(on_ollama("local", "qwen3.5:2b", context=16384), on_ollama("plain", "qwen3.5:2b"))
    assert planned["ollama_models"] == ["qwen3.5:2b"]
    assert planned["ollama_derived_models"] == [
        {"name": "qwen3.5:2b-ctx16384", "from": "qwen3.5:2b", "parameters": {"num_ctx": 16384}}
    ]
    assert upstreams(planned) == ["openai/qwen3.5:2b-ctx16384", "openai/qwen3.5:2b"]


def test_its_backend_keeps_its_id_and_is_described_by_the_base() -> None:
    (question,) = made(on_ollama("local", "qwen3.5:2b", context=16384))["questions"]
    assert question["backends"] == [{"id": "local/ollama/qwen3.5:2b@box", "description": "qwen3.5:2b on box"}]


def test_models_with_the_same_base_and_context_share_one_derived_model() -> None:
    planned = made(
        on_ollama("a", "qwen3.5", context=8192),
        on_ollama("b", "library/Qwen3.5:latest", context=8192),
        on_ollama("c", "qwen3.5", context=4096),
    )
    assert [entry["name"] for entry in planned["ollama_derived_models"]] == [
        "qwen3.5:latest-ctx8192",
        "qwen3.5:latest-ctx4096",
    ]
    assert upstreams(planned)[0] == upstreams(planned)[1]


def test_a_context_at_another_provider_is_a_fact_and_derives_nothing() -> None:
    both = {
        "name": "mixed",
        "context": 32768,
        "backends": [{"provider": "llamacpp", "model": "q"}, {"provider": "ollama", "model": "qwen3.5:4b"}],
    }
    planned = made(both)
    assert upstreams(planned) == ["openai/q", "openai/qwen3.5:4b-ctx32768"]
    assert planned["questions"][0]["context"] == 32768
    assert [entry["from"] for entry in planned["ollama_derived_models"]] == ["qwen3.5:4b"]


def test_a_resident_model_stays_in_memory_under_the_name_it_is_asked_by() -> None:
    planned = made(
        on_ollama("local", "qwen3.5:2b", context=8192, resident=True),
        on_ollama("embed", "nomic-embed-text", mode="embedding", resident=True),
        on_ollama("other", "qwen3:8b"),
    )
    assert planned["ollama_resident_models"] == ["qwen3.5:2b-ctx8192", "nomic-embed-text"]


def test_what_is_served_is_told_once_and_stays_in_memory_when_one_of_its_names_asks_for_that() -> None:
    planned = made(
        on_ollama("local", "qwen3.5:2b", context=8192),
        on_ollama("same", "qwen3.5:2b", context=8192, resident=True),
        on_ollama("short", "qwen3.5:2b"),
    )
    assert planned["ollama_served_models"] == [
        {"name": "qwen3.5:2b-ctx8192", "from": "qwen3.5:2b", "context": 8192, "resident": True},
        {"name": "qwen3.5:2b", "from": "qwen3.5:2b", "context": None, "resident": False},
    ]


def test_a_model_of_a_file_is_not_pulled_and_can_have_a_context() -> None:
    file = {"path": "~/models/mine.gguf", "sha256": "a" * 64}
    planned = made(
        {"name": "mine", "backends": [{"provider": "ollama", "model": "mine", "gguf": file}], "context": 8192},
        {"name": "box", "backends": [{"provider": "ollama", "model": "b", "gguf": {"path": "/srv/b", "on_box": True}}]},
        on_ollama("local", "qwen3.5:2b"),
    )
    assert planned["ollama_models"] == ["qwen3.5:2b"]
    assert planned["ollama_gguf_models"] == [
        {"name": "mine", "path": "~/models/mine.gguf", "remote_src": False, "sha256": "a" * 64},
        {"name": "b", "path": "/srv/b", "remote_src": True},
    ]
    assert planned["ollama_derived_models"][0]["from"] == "mine"
    assert planned["questions"][0]["backends"][0]["description"] == "mine (~/models/mine.gguf, aaaaaaaaaaaa) on box"
    assert upstreams(planned) == ["openai/mine:latest-ctx8192", "openai/b", "openai/qwen3.5:2b"]


def test_a_gateway_without_ollama_holds_nothing() -> None:
    planned = plan.make_plan(
        declaration(
            models=[on_ollama("local", "qwen3.5:2b", context=8192, resident=True)], switched_off=("ollama", "litellm")
        )
    )
    keys = ("ollama_models", "ollama_derived_models", "ollama_resident_models", "ollama_served_models")
    assert [planned[key] for key in (*keys, "ollama_gguf_models")] == [[], [], [], [], []]


def test_the_question_knows_what_the_model_can_do_and_who_takes_over() -> None:
    planned = made(
        on_ollama("local", "qwen3.5:2b", context=8192, tools=True, resident=True, fallbacks=["other"]),
        on_ollama("other", "qwen3:8b"),
    )
    keys = ("context", "tools", "resident", "fallbacks")
    assert [[question[key] for key in keys] for question in planned["questions"]] == [
        [8192, True, True, ["other"]],
        [None, False, False, []],
    ]


@pytest.mark.parametrize(
    ("base", "derived"),
    [
        ("qwen3.5:2b", "qwen3.5:2b-ctx8192"),
        ("nomic-embed-text", "nomic-embed-text:latest-ctx8192"),
        ("eva/tiny:q4", "eva/tiny:q4-ctx8192"),
        ("hf.co/bartowski/Llama-GGUF:Q4_K_M", "hf.co/bartowski/llama-gguf:q4_k_m-ctx8192"),
        ("localhost:5000/test/tiny", "localhost:5000/test/tiny:latest-ctx8192"),
    ],
)
def test_a_derived_model_is_called_after_its_base(base: str, derived: str) -> None:
    assert derived_name(base, 8192) == derived


PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", fullmatch=True)


@given(model=PART, tag=PART, other=PART, context=st.integers(256, 10_000_000))
def test_every_derived_name_is_one_that_ollama_takes_and_stands_for_one_base(
    model: str, tag: str, other: str, context: int
) -> None:
    name = derived_name(f"{model}:{tag}", context)
    assert names.parse(name).short == name
    same = names.parse(f"{model}:{tag}").key == names.parse(f"{model}:{other}").key
    assert (derived_name(f"{model}:{other}", context) == name) is same
