"""A small reader for declared mappings: every key known, every value of the right kind, every mistake collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlsplit

from .problems import VAULT_FILE, Problem, did_you_mean


@dataclass(frozen=True)
class Undefined:
    """Stands where a template names a variable that does not exist.

    Attributes:
        name: the variable that is missing, such as ``vault_openai_api_key``.
    """

    name: str

    def problem(self, path: str) -> Problem:
        """Return the report for this value at ``path``: where the missing variable belongs."""
        if self.name.startswith("vault_"):
            instead = (
                f"Run `make secrets` if there is no {VAULT_FILE} yet, "
                f"else add {self.name} with `ansible-vault edit {VAULT_FILE}`"
            )
        else:
            instead = f"Define {self.name}, or write the value itself"
        return Problem(path, f"{self.name} is not defined", instead)


@dataclass(frozen=True)
class Field:
    """What one key of a mapping may hold.

    Attributes:
        check: returns what is wrong with a value ("is not a whole number"), or None when it is right.
        example: what to write instead of a wrong value.
        required: whether the key must be there.
    """

    check: Callable[[Any], str | None]
    example: str
    required: bool = False


def text(value: Any) -> str | None:
    """Accept a string with at least one visible character."""
    if not isinstance(value, str):
        return f"is not text but {kind_of(value)}"
    return None if value.strip() else "is empty"


def one_of(*choices: str) -> Callable[[Any], str | None]:
    """Accept exactly one of the given words."""

    def check(value: Any) -> str | None:
        if isinstance(value, str) and value in choices:
            return None
        return f"{value!r} is not one of {', '.join(choices)}"

    return check


def seconds(value: Any) -> str | None:
    """Accept a positive number of seconds, a day at most: more is a slip of the keyboard."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is not a number of seconds but {kind_of(value)}"
    return None if 0 < value <= 86400 else f"{value} is not between 0 and 86400 seconds"


def port(value: Any) -> str | None:
    """Accept a TCP port number; as text too, since ``-e llm_port=4000`` gives text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return f"is not a port number but {kind_of(value)}"
    return None if 1 <= value <= 65535 else f"{value} is not between 1 and 65535"


def boolean(value: Any) -> str | None:
    """Accept true or false; as text too, since ``-e llm_verify_paid=true`` gives text."""
    if isinstance(value, bool) or (isinstance(value, str) and value.lower() in {"true", "false", "yes", "no"}):
        return None
    return f"is not true or false but {kind_of(value)}"


def url(value: Any) -> str | None:
    """Accept an http or https address without credentials; a wrong one is not repeated, as it may hold some."""
    wrong = text(value)
    if wrong:
        return wrong
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "is not an address that starts with http:// or https://"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return "holds more than an address, and others can read the file it goes into"
    return None


def list_of_text(value: Any) -> str | None:
    """Accept a list of strings."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    wrong = [item for item in value if text(item)]
    return f"holds {wrong[0]!r}, which is not text" if wrong else None


def list_of_mappings(value: Any) -> str | None:
    """Accept a list with at least one entry; the entries are read on their own."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    return None if value else "is an empty list"


def kind_of(value: Any) -> str:
    """Name the kind of a value in a user's words."""
    if value is None:
        return "empty"
    for kind, name in (
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "text"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return name
    return "a mapping" if isinstance(value, Mapping) else type(value).__name__


def read(value: Any, path: str, fields: Mapping[str, Field]) -> tuple[dict[str, Any], list[Problem]]:
    """Read one declared mapping.

    Args:
        value: what the user wrote at ``path``.
        path: where it stands, for the messages.
        fields: the keys that may stand there.

    Returns:
        The keys whose values are right, and every problem found. A key with a wrong value is left out.
    """
    if isinstance(value, Undefined):
        return {}, [value.problem(path)]
    if not isinstance(value, Mapping):
        return {}, [
            Problem(path, f"is not a mapping but {kind_of(value)}", f"Write keys and values: {', '.join(fields)}")
        ]
    good: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, given in value.items():
        if key not in fields:
            problems.append(Problem(f"{path}.{key}", "unknown key", did_you_mean(str(key), fields)))
        elif isinstance(given, Undefined):
            problems.append(given.problem(f"{path}.{key}"))
        else:
            wrong = fields[key].check(given)
            if wrong:
                problems.append(Problem(f"{path}.{key}", wrong, f"Write {fields[key].example}"))
            else:
                good[key] = given
    for key, field in fields.items():
        if field.required and key not in value:
            problems.append(Problem(f"{path}.{key}", "is missing", f"Write {field.example}"))
    return good, problems
