"""Who may ask: the clients of ``llm_clients``, read, and checked against the models they name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .declaration import CHAT, Catalog, Model
from .fields import (
    Field,
    Undefined,
    budget,
    kind_of,
    list_of_text,
    read,
    secrets,
    statuses,
    text,
    whole_number,
)
from .problems import Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_KEYS = 2
# The administrator's requests carry this name in logs and figures.
RESERVED_NAMES = ("admin",)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_KEY_EXAMPLE = 'a vault variable, such as key: "{{ vault_client_app_key }}"; `make client NAME=app` makes one'

_CLIENT_FIELDS = {
    "name": Field(text, "a name for the application or person, such as name: chat-ui", required=True),
    "key": Field(text, _KEY_EXAMPLE),
    "keys": Field(secrets, "the old and the new key while it is changed over, both from the vault"),
    "models": Field(list_of_text, "names of models, such as models: [local]; leave it out for all"),
    "default_model": Field(text, "the model that `model: default` means, such as default_model: local"),
    "fallback_model": Field(text, "the one model that answers when another fails, such as fallback_model: local"),
    "fallback_on": Field(statuses, "statuses of the errors that fall back, such as fallback_on: [400, 404]"),
    "rpm": Field(whole_number, "requests a minute, such as rpm: 100"),
    "tpm": Field(whole_number, "tokens a minute, such as tpm: 100000"),
    "max_parallel_requests": Field(whole_number, "requests at a time, such as max_parallel_requests: 4"),
    "monthly_budget_usd": Field(budget, "US dollars a calendar month, such as monthly_budget_usd: 20"),
}


@dataclass(frozen=True)
class Client:
    """An application or a person with a key of its own.

    Attributes:
        name: shown in logs, figures and messages.
        keys: the secrets it may come with, by their path in the declaration.
        models: names of the models it may ask; None for all.
        default_model: what ``model: default`` means for it, or empty.
        fallback_model: the one model that takes over for it in place of a model's own fallbacks, or empty.
        fallback_on: HTTP statuses of the errors that fall back; None for all.
        rpm: requests a minute; None for no limit.
        tpm: tokens a minute; None for no limit.
        max_parallel_requests: requests at a time; None for no limit.
        monthly_budget_usd: US dollars a calendar month; None for no limit.
    """

    name: str
    keys: Mapping[str, str] = field(repr=False)
    models: tuple[str, ...] | None = None
    default_model: str = ""
    fallback_model: str = ""
    fallback_on: tuple[int, ...] | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_parallel_requests: int | None = None
    monthly_budget_usd: float | None = None

    @property
    def path(self) -> str:
        """Where it stands in the declaration."""
        return f"llm_clients[{self.name}]"

    def may_ask(self, catalog: Catalog) -> list[Model]:
        """Return the models it may ask, in the order of the catalog."""
        return [model for model in catalog.models if self.models is None or model.name in self.models]


def read_clients(declared: Any) -> tuple[tuple[Client, ...], list[Problem]]:
    """Read ``llm_clients`` as the user wrote them.

    Returns:
        Every client that has a name, and every problem. No message holds a key.
    """
    where = "llm_clients"
    if isinstance(declared, Undefined):
        return (), [declared.problem(where)]
    if not isinstance(declared, list):
        return (), [Problem(where, f"is not a list but {kind_of(declared)}", f"Write a list, or {where}: []")]
    clients: list[Client] = []
    problems: list[Problem] = []
    for index, given in enumerate(declared):
        name = given.get("name") if isinstance(given, Mapping) else None
        path = f"{where}[{name if isinstance(name, str) and name else index}]"
        values, found = read(given, path, _CLIENT_FIELDS)
        problems += found
        if not isinstance(given, Mapping):
            continue
        problems += _key_problems(given, values, path)
        if values.get("models") == []:
            problems.append(Problem(f"{path}.models", "is an empty list", "Name models, or leave it out for all"))
        if "name" not in values:
            continue
        problems += _name_problems(values["name"], path, clients)
        clients.append(_client(values, path))
    return tuple(clients), problems


def _client(values: Mapping[str, Any], path: str) -> Client:
    keys = {f"{path}.key": values["key"]} if "key" in values else {}
    keys.update({f"{path}.keys[{index}]": key for index, key in enumerate(values.get("keys", ()))})
    return Client(
        name=values["name"],
        keys=keys,
        models=tuple(values["models"]) if "models" in values else None,
        default_model=values.get("default_model", ""),
        fallback_model=values.get("fallback_model", ""),
        fallback_on=tuple(values["fallback_on"]) if "fallback_on" in values else None,
        rpm=values.get("rpm"),
        tpm=values.get("tpm"),
        max_parallel_requests=values.get("max_parallel_requests"),
        monthly_budget_usd=values.get("monthly_budget_usd"),
    )


def _key_problems(given: Mapping[str, Any], values: Mapping[str, Any], path: str) -> list[Problem]:
    if "key" in given and "keys" in given:
        return [Problem(f"{path}.keys", "stands beside key", "Write one of the two; while a key is changed over, keys")]
    if "key" not in given and "keys" not in given:
        return [Problem(f"{path}.key", "is missing", f"Write {_KEY_EXAMPLE}")]
    if len(values.get("keys", ())) > MAX_KEYS:
        what = f"holds {len(values['keys'])} keys, and a client may have {MAX_KEYS}"
        return [Problem(f"{path}.keys", what, "Keep the newest two: the old and the new one while it is changed over")]
    return []


def _name_problems(name: str, path: str, earlier: list[Client]) -> list[Problem]:
    problems = []
    if not _NAME.match(name):
        problems.append(
            Problem(f"{path}.name", f"{name!r} is not a client name", "Use small letters, digits and . _ - only")
        )
    if name in RESERVED_NAMES:
        problems.append(Problem(f"{path}.name", f"{name!r} is the administrator's name", "Choose another name"))
    if name in {client.name for client in earlier}:
        problems.append(
            Problem(f"{path}.name", "two clients have this name", "Rename one: limits and budgets go by the name")
        )
    return problems


def client_problems(clients: Iterable[Client], catalog: Catalog) -> list[Problem]:
    """Return every rule that clients break about the models they name."""
    by_name = {model.name: model for model in catalog.models}
    problems: list[Problem] = []
    for client in clients:
        problems += _models_problems(client, by_name)
        problems += _choice_problems(client, "default_model", client.default_model, by_name)
        problems += _choice_problems(client, "fallback_model", client.fallback_model, by_name)
        problems += _fallback_problems(client, catalog, by_name)
    return problems


def _models_problems(client: Client, by_name: Mapping[str, Model]) -> list[Problem]:
    problems = []
    for index, name in enumerate(client.models or ()):
        path = f"{client.path}.models[{index}]"
        if name not in by_name:
            problems.append(Problem(path, f"{name!r} is not a declared model", did_you_mean(name, by_name)))
        elif name in (client.models or ())[:index]:
            problems.append(Problem(path, f"{name!r} stands here twice", "Remove one"))
    return problems


def _choice_problems(client: Client, key: str, name: str, by_name: Mapping[str, Model]) -> list[Problem]:
    path = f"{client.path}.{key}"
    if not name:
        return []
    if name not in by_name:
        return [Problem(path, f"{name!r} is not a declared model", did_you_mean(name, by_name))]
    if client.models is not None and name not in client.models:
        return [Problem(path, f"{name!r} is not among the models of this client", "Add it to models, or name another")]
    return []


def _fallback_problems(client: Client, catalog: Catalog, by_name: Mapping[str, Model]) -> list[Problem]:
    path = f"{client.path}.fallback_model"
    target = by_name.get(client.fallback_model)
    allowed = client.may_ask(catalog)
    if target is not None and target.mode != CHAT:
        return [Problem(path, f"{target.name!r} is for {target.mode}, and only chats fall back", "Name a chat model")]
    if target is not None and target.name == client.default_model:
        return [Problem(path, "is the default_model itself, which cannot stand in for itself", "Name another model")]
    if target is not None and target in allowed and not [model for model in allowed if _falls_back(model, target)]:
        return [Problem(path, "is the only chat model of this client", "Allow another one in models, or remove it")]
    if client.fallback_on is not None and not client.fallback_model:
        chained = [model for model in allowed if model.fallbacks or (model.mode == CHAT and catalog.default_fallbacks)]
        if not chained:
            what = "has nothing to act on: none of the models of this client falls back"
            return [Problem(f"{client.path}.fallback_on", what, "Write a fallback_model, or remove it")]
    return []


def _falls_back(model: Model, target: Model) -> bool:
    return model.mode == CHAT and model.name != target.name
