"""Names of Ollama models, read and compared as the Ollama server reads and compares them.

The rules are those of Ollama's ``types/model/name.go``: ``[host[:port]/][namespace/]model[:tag]``.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_FIRST_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_")
_EXTRA_CHARACTERS = {"host": "-.:", "namespace": "-", "model": "-.", "tag": "-."}
MAX_TAG_LENGTH = 80
_MAX_LENGTH = {"host": 350, "namespace": 80, "model": 80, "tag": MAX_TAG_LENGTH}
FORM = "Write it as [host/][namespace/]model[:tag], for example qwen3.5:2b."


class InvalidName(ValueError):
    """The text is not a model name that Ollama accepts; the message says which part is wrong and why."""


@dataclass(frozen=True)
class Name:
    """A complete model name; parts keep the case in which they were written."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def full(self) -> str:
        """All four parts, for example ``registry.ollama.ai/library/qwen3.5:2b``."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def short(self) -> str:
        """The form that ``/api/tags`` shows: default host and namespace left out, the tag always there."""
        if not self.on_default_host:
            return self.full
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Equal for two names exactly when Ollama takes them for the same model: it ignores case."""
        return self.full.lower()

    @property
    def on_default_host(self) -> bool:
        """Whether the model comes from Ollama's own registry."""
        return self.host.lower() == DEFAULT_HOST


def parse(text: str) -> Name:
    """Read a model name and fill in Ollama's defaults.

    Raises InvalidName when Ollama would refuse the name.
    """
    rest, host, namespace, tag = text, "", "", DEFAULT_TAG
    # A port also follows a colon, so a colon starts a tag only after the last slash.
    if rest.rfind(":") > rest.rfind("/"):
        rest, tag = _cut_last(text, rest, ":")
    if "/" in rest:
        rest, model = _cut_last(text, rest, "/")
        if "/" in rest:
            host, namespace = _cut_last(text, rest, "/")
            host = host.split("://", 1)[-1]
        else:
            namespace = rest
    else:
        model = rest
    name = Name(host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag)
    for kind in ("host", "namespace", "model", "tag"):
        _check_part(text, kind, getattr(name, kind))
    return name


def _cut_last(text: str, rest: str, separator: str) -> tuple[str, str]:
    """Split at the last separator; both sides must hold something."""
    before, _separator, after = rest.rpartition(separator)
    if not before or not after:
        side = "before" if not before else "after"
        raise InvalidName(f"{text!r} is not a model name: nothing stands {side} a {separator!r}. {FORM}")
    return before, after


def _check_part(text: str, kind: str, part: str) -> None:
    """Raise InvalidName when a part is empty, too long, or holds a character that Ollama refuses."""
    if not part:
        raise InvalidName(f"{text!r} is not a model name: the {kind} is empty. {FORM}")
    if len(part) > _MAX_LENGTH[kind]:
        raise InvalidName(
            f"{text!r} is not a model name: the {kind} has {len(part)} characters, "
            f"at most {_MAX_LENGTH[kind]} are allowed."
        )
    if part[0] not in _FIRST_CHARACTERS:
        raise InvalidName(
            f"{text!r} is not a model name: the {kind} {part!r} must start "
            f"with a letter, a digit or an underscore. {FORM}"
        )
    allowed = _FIRST_CHARACTERS.union(_EXTRA_CHARACTERS[kind])
    refused = next((character for character in part if character not in allowed), None)
    if refused is not None:
        extra = " ".join("_" + _EXTRA_CHARACTERS[kind])
        raise InvalidName(
            f"{text!r} is not a model name: the {kind} {part!r} holds {refused!r}; "
            f"letters, digits and {extra} are allowed. {FORM}"
        )
