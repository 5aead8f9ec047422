"""Changes to YAML text that leave every other character alone: comments, order, spelling.

Each change is read back: when the new text means anything else than the old one plus the change, it is refused.
Messages name lines, never their text, which may hold a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml


class NotSafe(ValueError):
    """A text cannot be changed without guessing. The message says why."""


@dataclass(frozen=True)
class Pair:
    """A key of a mapping with its value, as PyYAML's nodes."""

    key: yaml.Node
    value: yaml.Node


def compose(text: str) -> yaml.Node | None:
    """Return the tree of a text; None for one without content.

    Raises:
        NotSafe: it is no YAML, or more than one document.
    """
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise NotSafe(f"it is not one document of valid YAML{where}") from None


def meaning(node: yaml.Node | None) -> Any:
    """Return what a tree says, without marks and styles, for comparison."""
    if isinstance(node, yaml.MappingNode):
        return ("map", [(meaning(key), meaning(value)) for key, value in node.value])
    if isinstance(node, yaml.SequenceNode):
        return ("list", [meaning(item) for item in node.value])
    if isinstance(node, yaml.ScalarNode):
        return (node.tag, node.value)
    return None


def pairs(node: yaml.Node | None) -> list[Pair]:
    """Return the keys and values of a mapping; nothing for anything else."""
    return [Pair(key, value) for key, value in node.value] if isinstance(node, yaml.MappingNode) else []


def pair_of(node: yaml.Node | None, name: str) -> Pair | None:
    """Return a key of a mapping with its value, or None.

    Raises:
        NotSafe: the key stands there more than once.
    """
    found = [pair for pair in pairs(node) if scalar(pair.key) == name]
    if len(found) > 1:
        raise NotSafe(f"{name} stands there twice (line {found[1].key.start_mark.line + 1})")
    return found[0] if found else None


def scalar(node: yaml.Node | None) -> str | None:
    """Return the text of a scalar, or None for anything else."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def scalar_tag(text: str) -> str:
    """Return the type that YAML takes a plain word for, such as ``tag:yaml.org,2002:int``."""
    node = compose(text)
    return str(node.tag) if node is not None else ""


def in_brackets(node: yaml.Node) -> bool:
    """Return whether a list or mapping is written in brackets."""
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def newline_of(text: str) -> str:
    """Return how lines end in a text."""
    return "\r\n" if "\r\n" in text else "\n"


def replaced(text: str, first: yaml.Node, last: yaml.Node, by: str) -> str:
    """Return the text with what reaches from one node to another, on one line, replaced.

    Raises:
        NotSafe: it reaches over several lines.
    """
    if first.start_mark.line != last.end_mark.line:
        raise NotSafe(f"what would change goes over several lines (from line {first.start_mark.line + 1})")
    return text[: first.start_mark.index] + by + text[last.end_mark.index :]


def last_line(node: yaml.Node) -> int:
    """Return the number of the last line that a node fills, without comments after it."""
    children = [part for pair in pairs(node) for part in (pair.key, pair.value)]
    if isinstance(node, yaml.SequenceNode):
        children = list(node.value)
    if children and not in_brackets(node):
        return max(last_line(child) for child in children)
    end = node.end_mark
    # A block scalar ends at the start of the line after it.
    return int(end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line)


def without_blanks_at_end(text: str, line: int) -> str:
    """Return the text without blanks at the end of one line, counted from 0."""
    lines = text.splitlines(keepends=True)
    ending = lines[line][len(lines[line].rstrip("\r\n")) :]
    lines[line] = lines[line].rstrip() + ending
    return "".join(lines)


def with_lines_after(text: str, line: int, new: list[str]) -> str:
    """Return the text with lines put in after a line, counted from 0; negative puts them at the start."""
    newline = newline_of(text)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += newline
    lines[line + 1 : line + 1] = [f"{item}{newline}" for item in new]
    return "".join(lines)


def secret(text: str, variable: str) -> str | None:
    """Return the value of a variable at the top of a vault's text, or None when it is not there.

    Raises:
        NotSafe: the text is no mapping, or the value no text.
    """
    pair = pair_of(_top(text), variable)
    if pair is None:
        return None
    value = scalar(pair.value)
    if value is None:
        raise NotSafe(f"{variable} is not a text (line {pair.key.start_mark.line + 1})")
    return value


def with_secret(text: str, variable: str, value: str) -> str:
    """Return a vault's text with a variable set, at its place or at the end.

    Args:
        text: the decrypted vault.
        variable: name of the variable.
        value: letters, digits, ``-`` and ``_`` only.

    Raises:
        NotSafe: the text cannot take it without guessing.
    """
    pair = pair_of(_top(text), variable)
    new = ("tag:yaml.org,2002:str", value)
    before = _top_meaning(text)
    name = ("tag:yaml.org,2002:str", variable)
    if pair is not None:
        changed = replaced(text, pair.value, pair.value, f'"{value}"')
        expected = [(key, new if key == name else old) for key, old in before]
    else:
        changed = with_lines_after(text, len(text.splitlines()), [f'{variable}: "{value}"'])
        expected = [*before, (name, new)]
    if _changed_meaning(changed) != expected:
        raise NotSafe(f"{variable} cannot be set there without a change to the rest")
    return changed


def without_secret(text: str, variable: str) -> str:
    """Return a vault's text without the line of a variable.

    Raises:
        NotSafe: the variable does not have a line of its own.
    """
    pair = pair_of(_top(text), variable)
    if pair is None:
        return text
    lines = text.splitlines(keepends=True)
    line = pair.key.start_mark.line
    del lines[line]
    changed = "".join(lines)
    expected = [item for item in _top_meaning(text) if item[0][1] != variable]
    if pair.value.end_mark.line != line or _changed_meaning(changed) != expected:
        raise NotSafe(f"{variable} has no line of its own (line {line + 1})")
    return changed


def _top(text: str) -> yaml.Node | None:
    """Return the mapping that a vault's text is; None for an empty one."""
    node = compose(text)
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    if not isinstance(node, yaml.MappingNode):
        raise NotSafe("it is no mapping of variables")
    return node


def _top_meaning(text: str) -> list[Any]:
    """Return what the variables of a vault's text mean."""
    top = _top(text)
    return list(meaning(top)[1]) if top is not None else []


def _changed_meaning(text: str) -> list[Any] | None:
    """Return what the variables of a changed text mean; None when the change broke it."""
    try:
        return _top_meaning(text)
    except NotSafe:
        return None
