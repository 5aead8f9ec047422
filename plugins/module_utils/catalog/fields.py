"""A small reader for declared mappings: every key known, every value of the right kind, every mistake collected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Callable
from urllib.parse import urlsplit

from .problems import EDIT_VAULT, VAULT_FILE, Problem, did_you_mean

# What to write for a list of the catalog that stands in no file at all.
_LISTS = {
    "llm_providers": "Write llm_providers: {} or your providers",
    "llm_models": "Write llm_models with at least one model, each with a name and backends",
    "llm_images": "Write llm_images as the project's own group_vars/all/images.yml has it",
}


@dataclass(frozen=True)
class Undefined:
    """Stands where a template names a variable that does not exist.

    Attributes:
        name: the variable that is missing, such as ``vault_openai_api_key``.
    """

    name: str

    def problem(self, path: str) -> Problem:
        """Return the report for this value at ``path``: where the missing variable belongs."""
        if self.name == path:
            return Problem(path, "is not defined", _LISTS.get(path, "Write a value"))
        if self.name.startswith("vault_"):
            instead = f"Run `make secrets` if there is no {VAULT_FILE} yet, else add {self.name} with `{EDIT_VAULT}`"
            if self.name.startswith("vault_client_"):
                instead += "; `make client NAME=NEW` makes a key for a new client"
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


def whole_number(value: Any) -> str | None:
    """Accept a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"is not a whole number but {_number_kind(value)}"
    return None if value > 0 else f"{value} is not above 0"


def tokens(value: Any) -> str | None:
    """Accept a whole number of tokens that a model's context may hold."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"is not a whole number of tokens but {_number_kind(value)}"
    return None if 256 <= value <= 10_000_000 else f"{value} is not between 256 and 10000000 tokens"


def whole_seconds(value: Any) -> str | None:
    """Accept a whole number of seconds, 30 days at most."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"is not a whole number of seconds but {_number_kind(value)}"
    return None if 0 < value <= 2592000 else f"{value} is not between 1 and 2592000 seconds"


def percent(value: Any) -> str | None:
    """Accept a share of 1 to 100 per cent, as a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is not a number of per cent but {kind_of(value)}"
    return None if 1 <= value <= 100 else f"{value} is not between 1 and 100"


def budget(value: Any) -> str | None:
    """Accept an amount of US dollars above 0."""
    return _dollars(value) or (None if value > 0 else f"{value} is not above 0")


def price(value: Any) -> str | None:
    """Accept an amount of US dollars, 0 included."""
    return _dollars(value) or (None if value >= 0 else f"{value} is below 0")


def _dollars(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is not a number of US dollars but {kind_of(value)}"
    return None if math.isfinite(value) else f"{value} is not an amount"


def _number_kind(value: Any) -> str:
    return f"{value}" if isinstance(value, float) else kind_of(value)


def mapping(value: Any) -> str | None:
    """Accept a mapping; its keys are read on their own."""
    return None if isinstance(value, Mapping) else f"is not a mapping but {kind_of(value)}"


def statuses(value: Any) -> str | None:
    """Accept a list of HTTP statuses that tell of an error."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    if not value:
        return "is an empty list"
    wrong = [item for item in value if isinstance(item, bool) or not isinstance(item, int) or not 400 <= item <= 599]
    if wrong:
        return f"holds {wrong[0]!r}, which is not a status from 400 to 599"
    return "names a status twice" if len(set(value)) < len(value) else None


def networks(value: Any) -> str | None:
    """Accept a list of networks in CIDR notation, none of which is the whole internet."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    for item in value:
        try:
            network = ip_network(item) if isinstance(item, str) else None
        except ValueError:
            network = None
        if network is None:
            return f"holds {item!r}, which is not a network"
        if network.prefixlen == 0:
            return f"holds {item}, which is everybody"
    return None


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


def truth(value: Any) -> str | None:
    """Accept true or false alone."""
    return None if isinstance(value, bool) else f"is not true or false but {kind_of(value)}"


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


def secrets(value: Any) -> str | None:
    """Accept a list of strings; a wrong one is not repeated, as it may be a secret all the same."""
    if not isinstance(value, list):
        return f"is not a list but {kind_of(value)}"
    if not value:
        return "is an empty list"
    return next((f"holds something that {wrong}" for wrong in map(text, value) if wrong), None)


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


def undefined_items(value: Any, path: str) -> list[Problem]:
    """Report the items of a list whose template names a variable that does not exist."""
    items = value if isinstance(value, list) else []
    return [item.problem(f"{path}[{index}]") for index, item in enumerate(items) if isinstance(item, Undefined)]


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
        elif fields[key].check is not list_of_mappings and undefined_items(given, f"{path}.{key}"):
            problems += undefined_items(given, f"{path}.{key}")
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
