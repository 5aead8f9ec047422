"""The list ``llm_clients`` as text: adding a client, and naming other keys for one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from . import yaml_text
from .yaml_text import NotSafe

LIST = "llm_clients"

_TEMPLATE = re.compile(r"\s*\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\s*\Z")
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Entry:
    """One client of the list.

    Attributes:
        name: its name.
        variables: the variables its keys come from, in order; None for a key that is written otherwise.
    """

    name: str
    variables: tuple[str | None, ...]


def lines_of(name: str, variables: tuple[str, ...], indent: int = 2) -> list[str]:
    """Return a client's entry as lines of YAML."""
    margin = " " * indent
    # Such as 123 or null, which would not be read as text.
    plain = yaml_text.scalar_tag(name) == _TEXT
    return [f"{margin}- name: {name}" if plain else f'{margin}- name: "{name}"', f"{margin}  {keys_text(variables)}"]


def keys_text(variables: tuple[str, ...]) -> str:
    """Return ``key: ...`` for one variable, ``keys: [...]`` for two."""
    quoted = [f'"{{{{ {variable} }}}}"' for variable in variables]
    return f"key: {quoted[0]}" if len(quoted) == 1 else f"keys: [{', '.join(quoted)}]"


def entries(text: str) -> list[Entry]:
    """Return the clients of the list.

    Raises:
        NotSafe: the text or the list is not what it should be.
    """
    return [_entry(item) for item in _items(_list(text)) if yaml_text.pair_of(item, "name") is not None]


def _entry(item: yaml.Node) -> Entry:
    name = yaml_text.pair_of(item, "name")
    key, keys = yaml_text.pair_of(item, "key"), yaml_text.pair_of(item, "keys")
    nodes = [key.value] if key is not None else []
    if keys is not None:
        nodes += keys.value.value if isinstance(keys.value, yaml.SequenceNode) else [keys.value]
    found = [_TEMPLATE.match(yaml_text.scalar(node) or "") for node in nodes]
    text = yaml_text.scalar(name.value) if name is not None else None
    return Entry(text or "", tuple(match[1] if match else None for match in found))


def with_entry(text: str, name: str, variables: tuple[str, ...]) -> str:
    """Return the text with a client added as the last of the list.

    Raises:
        NotSafe: the list cannot take it without guessing.
    """
    pair = _list(text)
    node = pair.value
    items = _items(pair)
    if not items:
        # The items go below an empty list; a comment beside it stays there.
        line = pair.key.start_mark.line
        opened = yaml_text.without_blanks_at_end(yaml_text.replaced(text, node, node, ""), line)
        changed = yaml_text.with_lines_after(opened, line, lines_of(name, variables, pair.key.start_mark.column + 2))
    elif yaml_text.in_brackets(node):
        raise NotSafe(
            f"{LIST} is written in brackets (line {node.start_mark.line + 1}), not with a line for each client"
        )
    else:
        new = lines_of(name, variables, node.start_mark.column)
        changed = yaml_text.with_lines_after(text, yaml_text.last_line(node), new)
    expected = [yaml_text.meaning(item) for item in items]
    expected.append(("map", [((_TEXT, "name"), (_TEXT, name)), *_keys_meaning(variables)]))
    _compare(text, changed, expected)
    return changed


def with_keys(text: str, name: str, variables: tuple[str, ...]) -> str:
    """Return the text with other keys for a client.

    Raises:
        NotSafe: the entry cannot be changed without guessing.
    """
    items = _items(_list(text))
    expected: list[Any] = []
    changed = text
    for item in items:
        meant = yaml_text.meaning(item)
        if _entry(item).name == name:
            written = [pair for pair in yaml_text.pairs(item) if yaml_text.scalar(pair.key) in ("key", "keys")]
            if len(written) != 1:
                raise NotSafe(f"client {name} needs exactly one of key and keys (line {item.start_mark.line + 1})")
            changed = yaml_text.replaced(text, written[0].key, written[0].value, keys_text(variables))
            (new,) = _keys_meaning(variables)
            meant = ("map", [new if pair[0][1] in ("key", "keys") else pair for pair in meant[1]])
        expected.append(meant)
    _compare(text, changed, expected)
    return changed


def _keys_meaning(variables: tuple[str, ...]) -> list[Any]:
    values = [(_TEXT, f"{{{{ {variable} }}}}") for variable in variables]
    return [((_TEXT, "key"), values[0])] if len(values) == 1 else [((_TEXT, "keys"), ("list", values))]


def _list(text: str) -> yaml_text.Pair:
    pair = yaml_text.pair_of(yaml_text.compose(text), LIST)
    if pair is None:
        raise NotSafe(f"{LIST} does not stand in it")
    return pair


def _items(pair: yaml_text.Pair) -> list[yaml.Node]:
    if isinstance(pair.value, yaml.SequenceNode):
        return list(pair.value.value)
    if pair.value.tag == "tag:yaml.org,2002:null":
        return []
    raise NotSafe(f"{LIST} is not a list (line {pair.value.start_mark.line + 1})")


def _compare(before: str, after: str, items: list[Any]) -> None:
    """Refuse a text that means anything else than the old one with these items."""
    expected = [
        (key, ("list", items) if key == (_TEXT, LIST) else value)
        for key, value in yaml_text.meaning(yaml_text.compose(before))[1]
    ]
    try:
        kept = yaml_text.meaning(yaml_text.compose(after)) == ("map", expected)
    except NotSafe:
        kept = False
    if not kept:
        raise NotSafe("the rest of it would not stay as it is")
