"""What a task about models is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from . import derived, gguf, names
from .outcome import TaskFailure

# States in which models are held; the others remove some.
HOLDING = ("present", "latest")
_SUM = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Wanted:
    """What the task is asked for; everything by ``names.Name.key``."""

    pulled: dict[str, names.Name]
    derived: dict[str, derived.Derived]
    imported: dict[str, gguf.GgufModel]
    resident: dict[str, names.Name]


def parse_names(texts: list[str]) -> dict[str, names.Name]:
    """The names by key, each model once, in the order given; raises TaskFailure that lists every invalid name."""
    wanted: dict[str, names.Name] = {}
    problems: list[str] = []
    for text in texts:
        try:
            name = names.parse(text)
        except names.InvalidName as error:
            problems.append(str(error))
            continue
        wanted.setdefault(name.key, name)
    if problems:
        raise TaskFailure(" ".join(problems))
    return wanted


def parse_wanted(params: dict[str, Any]) -> Wanted:
    """What the parameters ask for; raises TaskFailure for an invalid name or one that is to be two things."""
    entries, files = params["derived"], params["gguf"]
    made_names = [*(entry[key] for entry in entries for key in ("name", "from")), *(entry["name"] for entry in files)]
    parse_names([*params["names"], *made_names, *params["resident"]])
    pulled = parse_names(params["names"])
    made: dict[str, derived.Derived] = {}
    for entry in entries:
        name, base = names.parse(entry["name"]), names.parse(entry["from"])
        new = derived.Derived(name, base, entry["parameters"], entry["system"], entry["template"])
        if name.key in pulled or name.key == base.key:
            raise TaskFailure(f"{name.short} cannot be pulled and derived. Give the derived model a name of its own.")
        if not made.setdefault(name.key, new).same_as(new):
            raise TaskFailure(f"{name.short} is asked for twice and differently. Give each derived model its own name.")
    # What is only kept needs no sum.
    imported = parse_gguf(files) if params["state"] in HOLDING else {}
    if params["state"] == "only":
        pulled |= parse_names([entry["name"] for entry in files])
    for key, entry in imported.items():
        if key in pulled or key in made:
            raise TaskFailure(
                f"{entry.name.short} cannot be made in two ways. Give the model of the file another name."
            )
    return Wanted(pulled, made, imported, parse_names(params["resident"]))


def parse_gguf(entries: list[dict[str, Any]]) -> dict[str, gguf.GgufModel]:
    """The models to make from files, by key; raises TaskFailure with every file that cannot be read."""
    found: dict[str, gguf.GgufModel] = {}
    problems = []
    for entry in entries:
        name = names.parse(entry["name"])
        digest = entry["sha256"]
        try:
            if digest is None:
                digest = gguf.file_digest(entry["path"])
        except OSError as error:
            problems.append(f"{entry['path']} cannot be read: {error.strerror}.")
            continue
        if not _SUM.fullmatch(digest):
            problems.append(f"{digest!r} is not a sum of {entry['path']}: write 64 hex digits.")
        own = {key: entry[key] for key in ("parameters", "system", "template", "quantize")}
        model = gguf.GgufModel(name, entry["path"], digest.lower(), **own)
        if found.setdefault(name.key, model) != model:
            problems.append(f"{name.short} is asked for twice and differently. Give each model its own name.")
    if problems:
        raise TaskFailure(" ".join(problems))
    return found
