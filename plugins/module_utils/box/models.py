"""How many bytes the declared Ollama models still need."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple

from ..ollama.names import InvalidName, Name, parse
from ..ollama.registry import NotInRegistry, RegistryUnreachable, UnknownModel
from .parallel import Outcome, run_all

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .shapes import ModelFacts, ModelsFacts, PathFacts

# Ollama keeps a layer as blobs/sha256-<hex>, and one on its way as sha256-<hex>-partial (Ollama server/download.go).
_BLOB = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(?P<partial>-partial.*)?")
_BLOCK_BYTES = 512  # the unit of st_blocks (man 3type stat)
_STATES = {
    UnknownModel: "unknown",
    RegistryUnreachable: "unreachable",
    TimeoutError: "unreachable",
    NotInRegistry: "elsewhere",
    InvalidName: "invalid",
}


class Store(NamedTuple):
    """What a models directory holds."""

    held: dict[str, int]  # bytes on disk by layer digest, layers half loaded included
    complete: frozenset[str]  # digests of the layers that are there in full
    manifests: dict[str, Path]  # by the key of names.Name


EMPTY_STORE = Store({}, frozenset(), {})


def read_store(directory: Path) -> Store:
    """Read a models directory, at whatever depth below it Ollama's folders lie."""
    held: dict[str, int] = {}
    complete = set()
    manifests = {}
    for parent, _, files in os.walk(directory):
        for file in files:
            path = Path(parent) / file
            match = _BLOB.fullmatch(file)
            if match is None:
                name = _manifest_name(path.relative_to(directory))
                if name:
                    manifests[name.key] = path
                continue
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # Ollama removed or renamed it meanwhile
            digest = "sha256:" + match["hex"]
            if not match["partial"]:
                complete.add(digest)
            # A partial file is sparse, so only its blocks tell how much is there.
            size = status.st_blocks * _BLOCK_BYTES if match["partial"] else status.st_size
            held[digest] = max(held.get(digest, 0), size)
    return Store(held, frozenset(complete), manifests)


def _manifest_name(path: Path) -> Name | None:
    """The model whose manifest lies at ``path``, which ends in manifests/<host>/<namespace>/<model>/<tag>.

    The layout is that of Ollama's ``manifest/paths.go``.
    """
    folder, *parts = path.parts[-5:]
    return Name(*parts) if folder == "manifests" and len(parts) == 4 else None


def held_layers(name: str, store: Store) -> dict[str, int] | None:
    """The layers of a model that is whole on the box, else None: then the registry has to tell."""
    try:
        path = store.manifests.get(parse(name).key)
    except InvalidName:
        return None
    if path is None:
        return None
    try:
        manifest = json.loads(path.read_bytes())
        layers = {part["digest"]: int(part["size"]) for part in [*manifest["layers"], manifest["config"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # Ollama cannot use it either, and pulls the model anew
    return layers if store.complete.issuperset(layers) else None


def size_models(
    names: Sequence[str],
    ask: Callable[[str], dict[str, int]],
    directory: PathFacts | None,
    timeout_s: float,
    outdated: Collection[str] = (),
) -> ModelsFacts:
    """Ask for the layers of every model that is not on the box, for at most ``timeout_s`` seconds together.

    ``ask`` gives the layers of a model, digest to bytes, and raises the errors of ollama/registry.py. The ``outdated``
    among the names are on the box, and asked for all the same.
    """
    store = read_store(Path(directory["path"])) if directory else EMPTY_STORE
    on_box = {name: None if name in outdated else held_layers(name, store) for name in names}
    outcomes = run_all({name: partial(ask, name) for name, layers in on_box.items() if layers is None}, timeout_s)
    missing: dict[str, int] = {}
    for outcome in outcomes.values():
        missing.update(outcome.value or {})
    return {
        "directory": directory,
        "missing_bytes": _missing(missing, store.held),
        "items": [
            _asked(name, outcomes[name], store.held) if layers is None else _held(name, layers)
            for name, layers in on_box.items()
        ],
    }


def _missing(layers: dict[str, int], held: dict[str, int]) -> int:
    return sum(max(size - held.get(digest, 0), 0) for digest, size in layers.items())


def _asked(name: str, outcome: Outcome, held: dict[str, int]) -> ModelFacts:
    if outcome.error is not None:
        state = _STATES.get(type(outcome.error))
        if state is None:
            raise outcome.error
        return {"name": name, "state": state, "bytes": 0, "missing_bytes": 0, "detail": str(outcome.error)}
    layers: dict[str, int] = outcome.value
    return {
        "name": name,
        "state": "known",
        "bytes": sum(layers.values()),
        "missing_bytes": _missing(layers, held),
        "detail": "",
    }


def _held(name: str, layers: dict[str, int]) -> ModelFacts:
    return {"name": name, "state": "held", "bytes": sum(layers.values()), "missing_bytes": 0, "detail": ""}
