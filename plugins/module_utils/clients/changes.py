"""What adding a client, giving it a second key and dropping its first one change in the catalog and in the vault.

The vault is written first, the catalog after it. A run that ended between the two is picked up by the same command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..catalog.problems import EDIT_VAULT, VAULT_FILE
from . import entries, names, yaml_text
from .yaml_text import NotSafe

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS_FILE = "group_vars/all/clients.yml"


class Refused(Exception):
    """Nothing is changed. The message says why and what to write or do instead."""


@dataclass(frozen=True)
class Texts:
    """The two files.

    Attributes:
        clients: text of the catalog's file with the clients.
        vault: decrypted text of the vault.
    """

    clients: str
    vault: str


@dataclass(frozen=True)
class Change:
    """What to write, and what to tell the user.

    Attributes:
        texts: the files as they shall be.
        notes: sentences for the user, without any key.
        key: a key the user has not seen yet, to be shown once.
    """

    texts: Texts
    notes: tuple[str, ...]
    key: str | None = None

    def __repr__(self) -> str:
        """Leave everything out that holds a secret."""
        return f"Change(notes={self.notes!r})"


def add(name: str, texts: Texts, new_key: Callable[[], str]) -> Change:
    """Return what adds a client with one key.

    Raises:
        Refused: the name is no name or taken, or a file cannot be changed safely.
    """
    known = _known(name, texts)
    variable = names.key_variable(name)
    entry = next((entry for entry in known if entry.name == name), None)
    stored = _stored(texts, variable)
    if entry is not None and (entry.variables != (variable,) or stored is not None):
        raise Refused(
            f"{CLIENTS_FILE} already has a client {name}, so it keeps its key. To change the key: "
            f"make client NAME={name} ROTATE=1. To read it: .venv/bin/ansible-vault view {VAULT_FILE}"
        )
    clients = texts.clients
    if entry is None:
        owner = next((entry.name for entry in known if variable in entry.variables), None)
        if owner is not None:
            raise Refused(
                f"client {owner} already uses {variable}, which is where the key of {name} would go. "
                f"Choose another name"
            )
        try:
            clients = entries.with_entry(texts.clients, name, (variable,))
        except NotSafe as reason:
            raise _by_hand(name, str(reason), entries.lines_of(name, (variable,))) from None
    key = _usable(variable, stored) if stored is not None else new_key()
    return Change(
        Texts(clients, texts.vault if stored is not None else _with_secret(texts, variable, key)),
        (
            f"It is in {VAULT_FILE} as {variable}; {CLIENTS_FILE} has the client.",
            "It may use every model without limits until you write some there: docs/clients.md.",
            "The gateway accepts it after: make apply",
        ),
        key,
    )


def rotate(name: str, texts: Texts, new_key: Callable[[], str]) -> Change:
    """Return what gives a client a second key, so that both are valid while it changes over.

    Raises:
        Refused: there is no such client, it has two keys already, or a file cannot be changed safely.
    """
    entry = _entry(name, texts)
    variable, following = names.key_variable(name), names.next_key_variable(name)
    stored = _stored(texts, following)
    if _stored(texts, variable) is None:
        raise Refused(f"{VAULT_FILE} has no {variable}. Make the first key before the second: make client NAME={name}")
    clients = texts.clients
    if entry.variables == (variable, following):
        if stored is not None:
            raise Refused(
                f"client {name} has two keys already. When it uses the new one: make client NAME={name} FINISH=1"
            )
    elif entry.variables == (variable,):
        clients = _with_keys(name, texts, (variable, following))
    else:
        raise _by_hand(name, f"its key does not come from {variable}", [entries.keys_text((variable, following))])
    key = _usable(following, stored) if stored is not None else new_key()
    return Change(
        Texts(clients, texts.vault if stored is not None else _with_secret(texts, following, key)),
        (
            f"It is the second key of client {name}, in {VAULT_FILE} as {following}.",
            "Both keys are valid after: make apply. Then give the new one to the application.",
            f"When it uses the new one: make client NAME={name} FINISH=1, and make apply again.",
        ),
        key,
    )


def finish(name: str, texts: Texts) -> Change:
    """Return what makes the second key of a client its only one.

    Raises:
        Refused: it has no second key, or a file cannot be changed safely.
    """
    entry = _entry(name, texts)
    variable, following = names.key_variable(name), names.next_key_variable(name)
    if entry.variables != (variable, following):
        if len(entry.variables) == 2:
            both = entries.keys_text((variable, following))
            raise _by_hand(name, f"its keys do not come from {variable} and {following}", [both])
        raise Refused(f"client {name} has no second key. To make one: make client NAME={name} ROTATE=1")
    stored = _stored(texts, following)
    if stored is None and _stored(texts, variable) is None:
        raise Refused(
            f"{VAULT_FILE} has neither {variable} nor {following}. Make a key: make client NAME={name} ROTATE=1"
        )
    clients = _with_keys(name, texts, (variable,))
    vault = texts.vault
    # Without a second key in the vault an earlier run got this far and was ended before it wrote the catalog.
    if stored is not None:
        try:
            vault = yaml_text.with_secret(vault, variable, _usable(following, stored))
            vault = yaml_text.without_secret(vault, following)
        except NotSafe as reason:
            raise _vault_by_hand(reason) from None
    return Change(
        Texts(clients, vault),
        (f"The new key of client {name} is now its only one. The old one stops working with: make apply",),
    )


def _known(name: str, texts: Texts) -> list[entries.Entry]:
    problem = names.name_problem(name)
    if problem:
        raise Refused(problem)
    try:
        return entries.entries(texts.clients)
    except NotSafe as reason:
        raise _by_hand(
            name, str(reason), [f"{entries.LIST}:", *entries.lines_of(name, (names.key_variable(name),))]
        ) from None


def _entry(name: str, texts: Texts) -> entries.Entry:
    known = _known(name, texts)
    entry = next((entry for entry in known if entry.name == name), None)
    if entry is None:
        others = ", ".join(entry.name for entry in known) or "none"
        raise Refused(f"{CLIENTS_FILE} has no client {name}. Known: {others}. To add it: make client NAME={name}")
    return entry


def _stored(texts: Texts, variable: str) -> str | None:
    try:
        return yaml_text.secret(texts.vault, variable)
    except NotSafe as reason:
        raise _vault_by_hand(reason) from None


def _usable(variable: str, key: str) -> str:
    """Return a key that an ended run or the user has put into the vault already."""
    if not names.is_good_key(key):
        raise Refused(
            f"{VAULT_FILE} already has {variable}, but that is no good key: 32 letters, digits, - and _ at least. "
            f"Write a random one, or remove it: {EDIT_VAULT}"
        )
    return key


def _with_secret(texts: Texts, variable: str, key: str) -> str:
    try:
        return yaml_text.with_secret(texts.vault, variable, key)
    except NotSafe as reason:
        raise _vault_by_hand(reason) from None


def _with_keys(name: str, texts: Texts, variables: tuple[str, ...]) -> str:
    try:
        return entries.with_keys(texts.clients, name, variables)
    except NotSafe as reason:
        raise _by_hand(name, str(reason), [entries.keys_text(variables)]) from None


def _by_hand(name: str, reason: str, lines: list[str]) -> Refused:
    pasted = "\n".join(lines)
    return Refused(
        f"{CLIENTS_FILE} stays as it is: {reason}.\n"
        f"Write this into it yourself for client {name}, then run the same command again:\n\n{pasted}"
    )


def _vault_by_hand(reason: NotSafe) -> Refused:
    return Refused(f"{VAULT_FILE} stays as it is: {reason}. Mend it first: {EDIT_VAULT}")
