"""The published schema of the log line, its page, and the lines that the gateway's own hooks write."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "docs/request-log.schema.json").read_text(encoding="utf-8"))
PAGE = (REPOSITORY / "docs/logs.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)]


def problems(line: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(line)]


@pytest.fixture(scope="module")
def log_line() -> ModuleType:
    """Load the module as LiteLLM does, from its file; it needs nothing of LiteLLM."""
    path = REPOSITORY / "roles/litellm/files/gateway/log_line.py"
    spec = importlib.util.spec_from_file_location("log_line_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def success(log_line: ModuleType, **changes: Any) -> dict[str, Any]:
    payload = {
        "startTime": 1_800_000_000.0,
        "endTime": 1_800_000_001.5,
        "completionStartTime": 1_800_000_000.5,
        "litellm_call_id": "id",
        "model_group": "smart",
        "model_id": "smart/anthropic/claude",
        "stream": True,
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "response_cost": 0.25,
        "cache_hit": None,
        **changes,
    }
    metadata = {"user_api_key_alias": "app", "user_api_key_request_route": "/v1/chat/completions"}
    return dict(json.loads(log_line.success_line(payload, metadata, "smart", "anthropic")))


def error(log_line: ModuleType, **changes: Any) -> dict[str, Any]:
    given = {
        "now": 1_800_000_001.0,
        "begin": None,
        "request_id": None,
        "client": None,
        "route": "/v1/models",
        "asked": None,
        "streamed": False,
        "status": 401,
        "error_class": "ProxyException",
        **changes,
    }
    return dict(json.loads(log_line.error_line(**given)))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == list(SCHEMA["properties"])


def test_the_page_names_every_field_and_no_other() -> None:
    table = PAGE.split("| field | type |", 1)[1].split("\n\n", 1)[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(SCHEMA["properties"])


def test_the_examples_of_the_page_follow_the_schema() -> None:
    assert {example["result"] for example in EXAMPLES} == {"success", "error"}
    assert [problems(example) for example in EXAMPLES] == [[] for _ in EXAMPLES]


@pytest.mark.parametrize("changes", [{}, {"stream": None, "response_cost": None, "cache_hit": True}])
def test_the_line_of_an_answer_follows_the_schema(log_line: ModuleType, changes: dict[str, Any]) -> None:
    assert problems(success(log_line, **changes)) == []


@pytest.mark.parametrize("changes", [{}, {"begin": 1_800_000_000.0, "client": "app", "status": 500, "streamed": True}])
def test_the_line_of_an_error_follows_the_schema(log_line: ModuleType, changes: dict[str, Any]) -> None:
    assert problems(error(log_line, **changes)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "other"},
        {"time": "2026-11-21T05:25:38+00:00"},
        {"status": "200"},
        {"status": 500},
        {"result": "failed"},
        {"error_class": "Timeout"},
        {"input_tokens": -1},
        {"output_tokens": 1.5},
        {"cost_usd": "0.1"},
        {"latency_seconds": "fast"},
        {"cache_hit": None},
        {"fallbacks": None},
        {"model": None},
        {"prompt": "Say hello"},
    ],
)
def test_a_line_that_is_wrong_is_found(changes: dict[str, Any]) -> None:
    assert problems({**EXAMPLES[0], **changes})


@pytest.mark.parametrize("name", list(SCHEMA["properties"]))
def test_a_line_without_one_of_the_fields_is_found(name: str) -> None:
    assert problems({key: value for key, value in EXAMPLES[0].items() if key != name})
