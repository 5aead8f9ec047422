"""The environment of Ollama's server: what the settings come to, and which variables of a user are refused."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils.ollama.environment import environment_problem, server_environment

HOLDS_A_PASSWORD = "HTTPS_PROXY holds a password, which everybody who may ask Docker could read"


@pytest.mark.parametrize(
    ("cache_type", "flash_attention", "flash"),
    [
        ("f16", "auto", None),
        ("f16", True, "1"),
        ("f16", "False", "0"),
        ("q8_0", "auto", "1"),
        ("q4_0", True, "1"),
    ],
)
def test_a_smaller_cache_brings_flash_attention_with_it(
    cache_type: str, flash_attention: Any, flash: str | None
) -> None:
    found = server_environment({}, cache_type, flash_attention)
    assert (found["OLLAMA_KV_CACHE_TYPE"], found.get("OLLAMA_FLASH_ATTENTION")) == (cache_type, flash)


def test_later_variables_win_and_all_are_text() -> None:
    found = server_environment({"A": "1", "B": "1"}, "f16", "auto", {"B": 2}, {"C": 0.5})
    assert found == {"A": "1", "B": "2", "C": "0.5", "OLLAMA_KV_CACHE_TYPE": "f16"}


def test_what_is_of_use_is_accepted() -> None:
    declared = {"OLLAMA_MAX_QUEUE": 64, "HSA_OVERRIDE_GFX_VERSION": "10.3.0", "HTTPS_PROXY": "http://proxy.lan:3128"}
    assert environment_problem(declared) is None
    assert environment_problem({}) is None


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (["OLLAMA_DEBUG=1"], "is not a mapping of names to values"),
        ({"OLLAMA_TMPDIR": "/var/tmp"}, "Ollama no longer knows OLLAMA_TMPDIR: temporary files lie beside the models"),
        (
            {"ollama_max_vram": 1},
            "Ollama no longer knows ollama_max_vram: OLLAMA_GPU_OVERHEAD keeps bytes of each GPU free",
        ),
        ({"OLLAMA_NUM_PARALLEL": 4}, "OLLAMA_NUM_PARALLEL is set by ollama_num_parallel"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "CUDA_VISIBLE_DEVICES is set by llm_gpu_devices"),
        ({"OLLAMA_HOST": "0.0.0.0"}, "OLLAMA_HOST cannot be set: LiteLLM finds the server at this address"),
        ({"http_proxy": "http://a"}, "http_proxy cannot be set: it breaks Ollama's own requests; set HTTPS_PROXY"),
        ({"HTTPS_PROXY": "me:secret@proxy.lan:3128"}, HOLDS_A_PASSWORD),
        ({"OLLAMA_DEBUG": True}, 'OLLAMA_DEBUG is no text; write it in quotes, such as "1"'),
        ({"A-B": "1"}, "'A-B' is no name of a variable"),
        (
            {"HTTPS_PROXY": "http://me:secret@proxy.lan:3128", "OLLAMA_NEW_ENGINE": "1"},
            (HOLDS_A_PASSWORD + "; Ollama no longer knows OLLAMA_NEW_ENGINE: every model runs in the new engine"),
        ),
    ],
)
def test_what_breaks_the_gateway_or_does_nothing_is_refused(declared: Any, problem: str) -> None:
    assert environment_problem(declared) == problem
