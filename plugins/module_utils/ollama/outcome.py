"""What a task about models found and did, and how it fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import api, names, progress

if TYPE_CHECKING:
    from collections.abc import Callable

_UNKNOWN_MODEL_HINT = (
    "Check the name in llm_models (group_vars/all/models.yml); the list is at https://ollama.com/library."
)
_OTHER_FILE_HINT = "The file is not the one of this sha256: write what sha256sum prints of it."
_QUANTIZE_HINT = (
    "Ollama quantizes files of 16 or 32 bits only, and newer versions none: quantize the file with llama-quantize of "
    "llama.cpp and leave quantize out."
)
_DISK_FULL_HINT = "The disk that holds the models is full: free some space or declare smaller models."
_TOO_OLD_HINT = "Raise the tag of the Ollama image in group_vars/all/images.yml, or declare another model."
_NETWORK_HINT = "The Ollama server does not reach the model registry: check the DNS, firewall and proxy of the box."
_MEMORY_HINT = "Declare a smaller model or context, or give Ollama more memory (ollama_memory_limit)."
OTHER_HINT = "The log of the Ollama container says more. Run again: a pull continues where it stopped."
# Texts of Ollama server/images.go and of Go's net package, in lower case.
_HINTS = (
    ("file does not exist", _UNKNOWN_MODEL_HINT),
    ("digest mismatch", _OTHER_FILE_HINT),
    ("quantiz", _QUANTIZE_HINT),
    ("no space left on device", _DISK_FULL_HINT),
    ("more system memory", _MEMORY_HINT),
    ("manifest: 412", _TOO_OLD_HINT),
    ("newer version of ollama", _TOO_OLD_HINT),
    ("no such host", _NETWORK_HINT),
    ("dial tcp", _NETWORK_HINT),
    ("i/o timeout", _NETWORK_HINT),
    ("tls:", _NETWORK_HINT),
)


class TaskFailure(Exception):
    """The task cannot go on; ``results`` are returned next to the message."""

    def __init__(self, message: str, **results: Any) -> None:
        super().__init__(message)
        self.results = results


@dataclass
class Outcome:
    """What the task found and did; ``before`` and ``after`` are the models held, by ``names.Name.key``.

    ``newest`` are the digests of the registry for models of which another version is held, by ``names.Name.key``.
    ``to_import``, ``to_make`` and ``to_load`` are what was found wrong, ``imported``, ``made`` and ``loaded`` what was
    done about it. ``uploads`` are the sums of files that the server lacks.
    """

    version: str
    before: dict[str, api.Model]
    after: dict[str, api.Model]
    missing: list[str]
    newest: dict[str, str] = field(default_factory=dict)
    to_import: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    to_make: list[str] = field(default_factory=list)
    to_load: list[str] = field(default_factory=list)
    pulled: list[dict[str, Any]] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    freed_bytes: int = 0
    download_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    notes_before: list[str] = field(default_factory=list)
    notes_of_derived: list[str] = field(default_factory=list)
    notes_after: list[str] = field(default_factory=list)

    def results(self) -> dict[str, Any]:
        """The part of the module's results that a failed task returns too."""
        return {
            "version": self.version,
            "missing": self.missing,
            "outdated": [names.parse(self.before[key].name).short for key in self.newest],
            "pulled": self.pulled,
            "imported": self.imported,
            "uploads": self.uploads,
            "derived": self.made,
            "loaded": self.loaded,
            "removed": self.removed,
            "changed": bool(self.pulled or self.imported or self.made or self.loaded or self.removed),
        }


@dataclass(frozen=True)
class Work:
    """How the server is asked to work: how long it may be silent, in seconds, and where it is told how far it is."""

    silence_s: float
    file: progress.ProgressFile

    def begin(self, doing: str, name: names.Name) -> Callable[[dict[str, Any]], None]:
        """Tell that work on a model begins; returns what takes the server's lines about it. Both raise OSError."""
        on_its_way = progress.Progress(doing, name.short)
        self.file.write(on_its_way)

        def told(line: dict[str, Any]) -> None:
            on_its_way.add(line, time.monotonic())
            self.file.write(on_its_way)

        return told


def change_failure(verb: str, name: names.Name, error: api.ApiError, outcome: Outcome) -> TaskFailure:
    """The failure to report when Ollama could not do something with a model."""
    text = str(error)
    hint = next((hint for part, hint in _HINTS if part in text.lower()), OTHER_HINT)
    done = [*(entry["name"] for entry in outcome.pulled), *outcome.imported, *outcome.made, *outcome.removed]
    return TaskFailure(
        f"Ollama {outcome.version} could not {verb} {name.short}: {' '.join(text.split()).rstrip('.')}. {hint} "
        f"Done before it: {', '.join(done) or 'nothing'}.",
        **({"ollama_message": error.text} if isinstance(error, api.OllamaError) else {}),
        **outcome.results(),
    )
