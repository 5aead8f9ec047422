"""Names of clients, and the variables of the vault that hold their keys."""

from __future__ import annotations

import re
import secrets
import string

from ..catalog.clients import RESERVED_NAMES

# Also a part of keys in Redis, of labels in Prometheus and of a variable's name.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_GOOD_KEY = re.compile(r"[A-Za-z0-9_-]{32,}\Z")
_KEY_CHARACTERS = string.ascii_letters + string.digits
_KEY_LENGTH = 48


def name_problem(name: str) -> str | None:
    """Return what is wrong with a client's name and what to write, or None."""
    if not name:
        return "NAME is missing. Write who the key is for, such as: make client NAME=chat-ui"
    if not _NAME.match(name):
        return f"{name!r} is not a client's name. Use small letters, digits and . _ - only, such as: chat-ui"
    if name in RESERVED_NAMES:
        return f"{name!r} is the administrator. Choose another name."
    return None


def key_variable(name: str) -> str:
    """Return the variable of the vault with a client's key."""
    return f"vault_client_{re.sub('[^a-z0-9]', '_', name)}_key"


def next_key_variable(name: str) -> str:
    """Return the variable of the vault with the key that a client changes over to."""
    return f"{key_variable(name)}_next"


def new_key() -> str:
    """Return a random key: ``sk-`` and 48 letters and digits, 285 bits."""
    return "sk-" + "".join(secrets.choice(_KEY_CHARACTERS) for _ in range(_KEY_LENGTH))


def is_good_key(key: str) -> bool:
    """Return whether a key that is already there is long enough and of harmless characters."""
    return bool(_GOOD_KEY.match(key)) and len(set(key)) >= 8
