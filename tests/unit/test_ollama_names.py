"""Model names are read, shown and compared as Ollama's types/model/name.go does it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.module_utils.ollama import names

FIRST = string.ascii_letters + string.digits + "_"


def part(extra: str, longest: int) -> st.SearchStrategy[str]:
    """A valid part of a name; ``longest`` is in characters."""
    rest = st.text(alphabet=FIRST + extra, max_size=longest - 1)
    return st.builds(str.__add__, st.sampled_from(FIRST), rest)


NAMES = st.builds(names.Name, host=part("-.:", 350), namespace=part("-", 80), model=part("-.", 80), tag=part("-.", 80))


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("qwen3.5", "qwen3.5:latest", "registry.ollama.ai/library/qwen3.5:latest"),
        ("qwen3.5:2b", "qwen3.5:2b", "registry.ollama.ai/library/qwen3.5:2b"),
        ("library/qwen3.5:2b", "qwen3.5:2b", "registry.ollama.ai/library/qwen3.5:2b"),
        ("Registry.Ollama.AI/Library/mistral", "mistral:latest", "Registry.Ollama.AI/Library/mistral:latest"),
        ("eva/mistral", "eva/mistral:latest", "registry.ollama.ai/eva/mistral:latest"),
        ("https://registry.ollama.ai/library/qwen3:4b", "qwen3:4b", "registry.ollama.ai/library/qwen3:4b"),
        ("hf.co/bartowski/Llama:Q4_K_M", "hf.co/bartowski/Llama:Q4_K_M", "hf.co/bartowski/Llama:Q4_K_M"),
        ("127.0.0.1:5000/test/tiny", "127.0.0.1:5000/test/tiny:latest", "127.0.0.1:5000/test/tiny:latest"),
        ("example.com/library/m:t", "example.com/library/m:t", "example.com/library/m:t"),
    ],
)
def test_defaults_are_filled_in_and_left_out(text: str, short: str, full: str) -> None:
    assert names.parse(text).short == short
    assert names.parse(text).full == full


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the model is empty"),
        ("qwen3.5:", "nothing stands after a ':'"),
        (":2b", "nothing stands before a ':'"),
        ("/qwen3.5", "nothing stands before a '/'"),
        ("eva/", "nothing stands after a '/'"),
        ("host//model", "nothing stands after a '/'"),
        ("a/b/c/d", "the host 'a/b' holds '/'"),
        ("qwen 3.5", "the model 'qwen 3.5' holds ' '"),
        (" qwen3.5", "the model ' qwen3.5' must start with"),
        ("qwen3.5:2b\n", "the tag '2b\\n' holds '\\n'"),
        ("qwen3.5@sha256-12", "the model 'qwen3.5@sha256-12' holds '@'"),
        ("my.team/qwen", "the namespace 'my.team' holds '.'"),
        ("eva:1/qwen", "the namespace 'eva:1' holds ':'"),
        ("-qwen", "the model '-qwen' must start with"),
        ("qwen:.2b", "the tag '.2b' must start with"),
        ("qwën", "the model 'qwën' holds 'ë'"),
        ("m" * 81, "the model has 81 characters, at most 80"),
        ("h" * 351 + "/n/m", "the host has 351 characters, at most 350"),
    ],
)
def test_what_ollama_refuses_is_refused_with_the_part_and_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(names.InvalidName) as caught:
        names.parse(text)
    assert complaint in str(caught.value)


def test_the_longest_parts_are_accepted() -> None:
    name = names.parse(f"{'h' * 350}/{'n' * 80}/{'m' * 80}:{'t' * 80}")
    assert (len(name.host), len(name.namespace), len(name.model), len(name.tag)) == (350, 80, 80, 80)


@settings(database=None)
@given(NAMES)
def test_every_valid_name_survives_both_of_its_forms(name: names.Name) -> None:
    assert names.parse(name.full) == name
    assert names.parse(name.short).key == name.key


@settings(database=None)
@given(NAMES)
def test_case_makes_no_other_model(name: names.Name) -> None:
    assert names.parse(name.full.upper()).key == name.key == names.parse(name.full.lower()).key


@settings(database=None)
@given(NAMES, NAMES)
def test_names_that_differ_in_more_than_case_have_different_keys(one: names.Name, other: names.Name) -> None:
    same = [
        getattr(one, kind).lower() == getattr(other, kind).lower() for kind in ("host", "namespace", "model", "tag")
    ]
    assert (one.key == other.key) == all(same)


@settings(database=None)
@given(part("-", 80), part("-.", 80), part("-.", 80))
def test_what_is_left_out_gets_the_default(namespace: str, model: str, tag: str) -> None:
    default = names.Name("registry.ollama.ai", "library", model, "latest")
    assert names.parse(model) == default
    assert names.parse(f"{model}:{tag}") == names.Name(default.host, default.namespace, model, tag)
    assert names.parse(f"{namespace}/{model}") == names.Name(default.host, namespace, model, "latest")


@settings(database=None)
@given(st.text(alphabet=st.one_of(st.sampled_from(FIRST + "/:.-@+ \n"), st.characters()), max_size=100))
def test_any_text_is_refused_or_gives_a_name_that_can_be_written_again(text: str) -> None:
    try:
        name = names.parse(text)
    except names.InvalidName:
        return
    assert names.parse(name.full) == name
    assert not set(name.full) - set(FIRST + "/:.-")
