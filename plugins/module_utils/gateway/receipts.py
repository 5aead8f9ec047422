"""The receipts of the last runs on the box: what was asked, what came back, and which models are proved.

A receipt is a JSON file named after the time of its run in UTC, so that the last name is the latest. docs/verify.md
describes its fields. It holds no key, and of an answer its first 60 characters at most.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
KEPT = 20
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z\.json\Z")


def fingerprint(question: Mapping[str, Any]) -> str:
    """Return what tells this declaration of a model from every other one: a hash of its question and its backends."""
    text = json.dumps(question, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def time_name(moment: datetime) -> str:
    """Return the name of the receipt of that moment."""
    return moment.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ") + ".json"


@dataclass(frozen=True)
class Tested:
    """What earlier runs know of one declaration of a model.

    Attributes:
        at: when it was last tested in depth without a failure.
        proved_at: when it passed all of these tests; None where one could not decide.
        notes: what could not be told then.
    """

    at: str
    proved_at: str | None = None
    notes: tuple[str, ...] = ()


def tested(directory: str) -> dict[str, Tested]:
    """Return what was tested of each model, by its fingerprint, as the receipts in a folder tell.

    A later failure of the same declaration takes that away. A file that is no receipt tells nothing.
    Raises OSError when a receipt cannot be read.
    """
    found: dict[str, Tested] = {}
    for name in _names(directory):
        # As bytes: what is no UTF-8 is no receipt either.
        with open(os.path.join(directory, name), "rb") as file:
            for model in _models(file.read()):
                mark, moment, proved_at = (model.get(key) for key in ("fingerprint", "tested_at", "proved_at"))
                if not isinstance(mark, str):
                    continue
                if isinstance(moment, str):
                    notes = model.get("notes")
                    told = tuple(map(str, notes)) if isinstance(notes, list) else ()
                    found[mark] = Tested(moment, proved_at if isinstance(proved_at, str) else None, told)
                elif model.get("deep") is True:
                    found.pop(mark, None)
    return found


def write(directory: str, receipt: Mapping[str, Any], moment: datetime, kept: int = KEPT) -> str:
    """Write a receipt for its owner alone, drop all but the last ``kept``, and return its path.

    Raises OSError when the folder or the file cannot be written.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    path = os.path.join(directory, time_name(moment))
    # Made with mode 0600, and seen under its name only when it is whole.
    descriptor, unfinished = tempfile.mkstemp(dir=directory, prefix=".unfinished-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **receipt}, file, indent=1)
            file.write("\n")
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    for name in _names(directory)[:-kept]:
        os.unlink(os.path.join(directory, name))
    return path


def _names(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if _NAME.match(name))
    except FileNotFoundError:
        return []


def _models(text: bytes) -> list[Mapping[str, Any]]:
    try:
        receipt = json.loads(text)
    except ValueError:
        return []
    models = receipt.get("models") if isinstance(receipt, dict) and receipt.get("version") == VERSION else None
    return [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
