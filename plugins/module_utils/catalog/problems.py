"""What is wrong with a declaration, in words a user can act on."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where each top-level variable stands, so that a message can name the file to open.
FILES = {
    "llm_providers": "group_vars/all/providers.yml",
    "llm_llamacpp": "group_vars/all/providers.yml",
    "llm_models": "group_vars/all/models.yml",
    "llm_default_fallbacks": "group_vars/all/models.yml",
    "llm_clients": "group_vars/all/clients.yml",
    "llm_images": "group_vars/all/images.yml",
    "llm_bind_address": "the inventory",
}
OTHER_FILE = "group_vars/all/gateway.yml"
# A variable that nothing reads may stand in any of these.
ANYWHERE = "group_vars, host_vars or the inventory"
VAULT_FILE = "group_vars/all/vault.yml"
# The command as it runs from the project, whose tools are on nobody's path.
EDIT_VAULT = f".venv/bin/ansible-vault edit {VAULT_FILE}"


@dataclass(frozen=True)
class Problem:
    """One mistake in the declaration.

    Attributes:
        path: the key, from its top-level variable down, such as ``llm_models[smart].backends[0].provider``.
        what: what is wrong there.
        instead: what to write or do instead.
        file: the file to open; found from ``path`` when empty.
    """

    path: str
    what: str
    instead: str
    file: str = ""

    def __str__(self) -> str:
        """Give the line a user reads: file, path, what is wrong, what to write."""
        return f"{self.file or file_of(self.path)}: {self.path}: {self.what}. {self.instead}."


def file_of(path: str) -> str:
    """Return the file in which the top-level variable of ``path`` is declared."""
    variable = path.split(".", maxsplit=1)[0].split("[", maxsplit=1)[0]
    return FILES.get(variable, OTHER_FILE)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that a misspelt one is likely to mean, or an empty text."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return advice for a word that is not among the known ones: the nearest of them, and all of them."""
    choices = sorted(known)
    close = nearest(word, choices) or _only_one_with(word, choices)
    if close:
        return f"Did you mean {close!r}? Known: {', '.join(choices)}"
    return f"Known: {', '.join(choices)}" if choices else "Nothing of this kind is declared"


def _only_one_with(word: str, known: Iterable[str]) -> str:
    """Return the one known name that has a word as a part (``monthly_budget_usd`` for ``budget``), or an empty text."""
    having = [name for name in known if word.lower() in re.split(r"[^a-z0-9]+", name.lower())]
    return having[0] if word and len(having) == 1 else ""
