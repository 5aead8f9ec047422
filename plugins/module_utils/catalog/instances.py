"""The servers of llama.cpp that run on the box, as ``llm_llamacpp`` declares them: one for each GGUF file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .fields import Field, Undefined, kind_of, read, text, tokens, truth, whole_number
from .problems import Problem, file_of

# The list, and the provider that is there when it is not empty.
LIST = "llm_llamacpp"
LLAMACPP = "llamacpp"
PORT = 8080
# As long as Ollama's own.
CONTEXT = 8192
PARALLEL = 1

# It becomes a host's name, after `llamacpp-`.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")
# A colon or a $ would mean something to Compose.
_PATH = re.compile(r"/[A-Za-z0-9._+@/-]*[A-Za-z0-9._+@-]\Z")
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf\Z")


def _name(value: Any) -> str | None:
    return text(value) or (None if _NAME.match(value) else f"{value!r} is not a name for a host")


def _path(value: Any) -> str | None:
    wrong = text(value)
    if wrong:
        return wrong
    if not value.startswith("/"):
        return f"{value!r} is not an absolute path on the box"
    if not _PATH.match(value) or ".." in value.split("/"):
        return f"{value!r} holds more than letters, digits and . _ + @ - between its slashes, or leads upwards"
    if _PART.search(value):
        return f"{value!r} is one part of several, and one file is mounted: llama-gguf-split --merge makes one of them"
    return None


_FIELDS = {
    "name": Field(_name, "small letters, digits and -, 40 characters at most, such as name: coder", required=True),
    "path": Field(_path, "path: /srv/models/coder.gguf, where the file lies on the box", required=True),
    "context": Field(tokens, f"tokens of a question and its answer together, such as context: {CONTEXT}"),
    "parallel": Field(whole_number, "answers at the same time, such as parallel: 2"),
    "embeddings": Field(truth, "embeddings: true for a model that makes embeddings and cannot chat, or leave it out"),
}


@dataclass(frozen=True)
class Instance:
    """One server of llama.cpp on the box.

    Attributes:
        name: by which models of the catalog name it.
        path: the GGUF file on the box.
        context: tokens that a question and its answer may have together.
        parallel: answers at the same time; each has the whole context.
        embeddings: whether it makes embeddings, and nothing else.
    """

    name: str
    path: str = ""
    context: int = CONTEXT
    parallel: int = PARALLEL
    embeddings: bool = False

    @property
    def host(self) -> str:
        """Its name on the gateway's network."""
        return f"{LLAMACPP}-{self.name}"

    @property
    def address(self) -> str:
        """Where LiteLLM asks it."""
        return f"http://{self.host}:{PORT}/v1"

    @property
    def where(self) -> str:
        """Its place in the declaration."""
        return f"{LIST}[{self.name}]"

    def for_the_role(self) -> dict[str, Any]:
        """Return what the role llamacpp takes."""
        return {**asdict(self), "host": self.host}

    def wanted_file(self) -> dict[str, str]:
        """Return the file that must be on the box, and where its path was written."""
        return {"path": self.path, "variable": f"{self.where}.path", "file": file_of(LIST)}


def read_instances(declared: Any) -> tuple[dict[str, Instance], list[Problem]]:
    """Read ``llm_llamacpp`` as the user wrote it.

    Returns:
        The instances by name, in the order in which they were written, and every problem. One with a wrong value is
        among them, so that nobody is told that it is not declared.
    """
    if isinstance(declared, Undefined):
        return {}, [declared.problem(LIST)]
    if not isinstance(declared, list):
        example = f"Write {LIST}: [{{name: coder, path: /srv/models/coder.gguf}}], or {LIST}: []"
        return {}, [Problem(LIST, f"is not a list but {kind_of(declared)}", example)]
    instances: dict[str, Instance] = {}
    problems: list[Problem] = []
    for index, given in enumerate(declared):
        name = given.get("name") if isinstance(given, Mapping) else None
        path = f"{LIST}[{name if isinstance(name, str) and name else index}]"
        values, found = read(given, path, _FIELDS)
        problems += found
        if "name" not in values:
            continue
        if values["name"] in instances:
            problems.append(Problem(f"{path}.name", "two instances have this name", "Rename one"))
        instances.setdefault(values["name"], Instance(**values))
    return instances, problems
