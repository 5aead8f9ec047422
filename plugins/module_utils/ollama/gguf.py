"""Models made on the server from a GGUF file, and whether one that is there is what was asked for."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .derived import asked_line, own_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO, Callable

    from .api import Shown
    from .names import Name

# What Ollama makes of a file of 16 or 32 bits (Ollama server/quantization.go).
QUANTIZATIONS = ("q4_K_M", "q4_K_S", "q8_0")
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class GgufModel:
    """A model as it is asked for; ``digest`` is the hex sha256 of the file at ``path``."""

    name: Name
    path: str
    digest: str
    parameters: Mapping[str, Any]
    system: str | None = None
    template: str | None = None
    quantize: str | None = None

    def __str__(self) -> str:
        """Give the line of a difference."""
        quantized = f" as {self.quantize}" if self.quantize else ""
        return asked_line(self.name, f"file {self.digest[:12]}{quantized}", self.parameters, self.texts)

    @property
    def texts(self) -> dict[str, str]:
        """The texts that it does not take from the file, by Ollama's names for them."""
        return own_texts(self.system, self.template)

    @property
    def file_name(self) -> str:
        """The name under which Ollama gets the file; it tells the format by its end."""
        stem = os.path.splitext(os.path.basename(self.path))[0]
        return f"{stem}.gguf"

    @property
    def mark(self) -> str:
        """The text by which its model is known again; it stands where Ollama keeps a licence.

        Ollama rewrites a file that it makes a model of (ollama/ollama#17554), so the model does not tell it otherwise.
        """
        own = json.dumps([dict(self.parameters), self.texts], sort_keys=True)
        settings = hashlib.sha256(own.encode()).hexdigest()
        return f"Made by the LLM gateway of file sha256:{self.digest}, as {self.quantize or 'it is'}, with {settings}"

    def is_as_wanted(self, shown: Shown) -> bool:
        """Tell whether a model is of this file, with these parameters and texts and no others of the user's."""
        return shown.license.strip() == self.mark


def file_digest(path: str) -> str:
    """Return the hex sha256 of a file; raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def chunks(file: BinaryIO, told: Callable[[int], None]) -> Iterator[bytes]:
    """Give a file in pieces, and tell after each how many bytes went; raises OSError."""
    sent = 0
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
        sent += len(chunk)
        told(sent)
