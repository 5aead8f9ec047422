"""What a new catalog changes is told before it is done, and what changed is asked afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from plugins.module_utils.catalog import changes, plan
from tests.unit.catalog_samples import MODELS, declaration

if TYPE_CHECKING:
    from plugins.module_utils.box.shapes import ModelsFacts

LOCAL = MODELS[2]


def questions(*models: dict[str, Any]) -> list[dict[str, Any]]:
    planned: list[dict[str, Any]] = plan.make_plan(declaration(models=list(models)))["questions"]
    return planned


def told(before: list[dict[str, Any]] | None, after: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    deployed = "" if before is None else json.dumps(before, indent=4)
    return changes.catalog_changes(after, deployed, more.get("models"), ask_paid=more.get("ask_paid", False))


def test_nothing_changed_is_said_and_nothing_is_asked() -> None:
    same = questions(*MODELS)
    assert told(same, same) == {"lines": ["Models: nothing to change"], "changed": [], "removed": [], "ask": []}


def test_on_a_new_box_every_model_is_new() -> None:
    result = told(None, questions(LOCAL, MODELS[3]))
    assert result["lines"] == ["+ model local (qwen3.5:2b on box)", "+ model embed (nomic-embed-text on box)"]
    assert result["changed"] == result["ask"] == ["local", "embed"]


def test_a_model_that_came_and_one_that_went() -> None:
    new = {**LOCAL, "name": "fast", "backends": [{"provider": "ollama", "model": "qwen3:4b"}]}
    result = told(questions(LOCAL, MODELS[3]), questions(LOCAL, new))
    assert result["lines"] == ["+ model fast (qwen3:4b on box)", "- model embed"]
    assert (result["changed"], result["removed"]) == (["fast"], ["embed"])


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"context": 8192}, "~ model local: context not set -> 8192"),
        ({"resident": True, "tools": True}, "~ model local: resident no -> yes; tools no -> yes"),
        ({"fallbacks": ["other"]}, "~ model local: fallbacks none -> other"),
        (
            {"backends": [{"provider": "ollama", "model": "qwen3:8b"}]},
            "~ model local: backends qwen3.5:2b on box -> qwen3:8b on box",
        ),
        ({"timeout": 300}, "~ model local: timeout 600 s -> 300 s"),
        ({"first_token_timeout": 2.5}, "~ model local: first token timeout 120 s -> 2.5 s"),
    ],
)
def test_what_changed_of_a_model_is_told_with_both_values(keys: dict[str, Any], line: str) -> None:
    other = {**LOCAL, "name": "other"}
    result = told(questions(LOCAL, other), questions({**LOCAL, **keys}, other))
    assert result["lines"] == [line]
    assert result["changed"] == ["local"]


def test_another_context_is_told_once() -> None:
    result = told(questions({**LOCAL, "context": 4096}), questions({**LOCAL, "context": 8192}))
    assert result["lines"] == ["~ model local: context 4096 -> 8192"]


def test_a_model_that_costs_money_is_not_asked_unless_that_is_wanted() -> None:
    before, after = questions(LOCAL), questions(LOCAL, {**MODELS[0], "fallbacks": []})
    silent = told(before, after)
    assert (silent["changed"], silent["ask"]) == (["smart"], [])
    assert silent["lines"] == [
        "+ model smart (claude-opus-4-5 at anthropic)",
        "not asked afterwards, since that costs money: smart (llm_verify_paid: true asks them)",
    ]
    asked = told(before, after, ask_paid=True)
    assert (asked["ask"], len(asked["lines"])) == (["smart"], 1)


def facts(*items: tuple[str, str, int], free: int = 40 * 10**9) -> ModelsFacts:
    return {
        "directory": {"path": "/models", "free_bytes": free},
        "missing_bytes": sum(size for _, _, size in items),
        "items": [
            {"name": name, "state": state, "bytes": size, "missing_bytes": size, "detail": ""}
            for name, state, size in items
        ],
    }


def test_what_is_to_be_downloaded_stands_beside_the_room_for_it() -> None:
    same = questions(LOCAL)
    held = facts(("qwen3.5:2b", "held", 0))
    assert told(same, same, models=held)["lines"] == ["Models: nothing to change"]
    missing = facts(("qwen3.5:2b", "known", 2_700_000_000), ("nomic-embed-text", "held", 0))
    assert told(same, same, models=missing)["lines"] == ["to download 2.7 GB (qwen3.5:2b), free 40 GB"]
    unsized = facts(("qwen3.5:2b", "unreachable", 0))
    assert told(same, same, models=unsized)["lines"] == ["to download, size not known: qwen3.5:2b"]


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"mode": "chat"}]'])
def test_a_file_that_is_not_ours_makes_every_model_new_and_says_so(text: str) -> None:
    result = changes.catalog_changes(questions(LOCAL), text, None, ask_paid=False)
    assert result["lines"] == [changes.UNREADABLE, "+ model local (qwen3.5:2b on box)"]


def test_keys_that_an_earlier_version_did_not_write_are_no_change() -> None:
    old = [
        {key: value for key, value in question.items() if key not in {"context", "resident", "tools", "fallbacks"}}
        for question in questions(LOCAL)
    ]
    assert told(old, questions(LOCAL))["changed"] == []


def test_the_filter_takes_what_a_playbook_hands_over() -> None:
    variables = {"questions": questions(LOCAL), "box": {}}
    template = "{{ (questions | homelab.llm_gateway.catalog_changes('', box, false)).lines }}"
    assert Templar(DataLoader(), variables).template(trust_as_template(template)) == [
        "+ model local (qwen3.5:2b on box)"
    ]
