"""A client for the HTTP API of one Ollama server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .gguf import chunks
from .memory import Shape, read_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Told = Callable[[dict[str, Any]], None]

# Checking the sum of a big file sends nothing for minutes (Ollama server/images.go PullModel).
PULL_SILENCE_S = 900.0
_ANSWER_S = 30.0
_STARTUP_ANSWER_S = 5.0
_STARTUP_POLL_S = 0.25
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")
_MAX_LINE_BYTES = 1024 * 1024
_MAX_ERROR_CHARACTERS = 500
_YEARS_THAT_MEAN_FOREVER = 50


class ApiError(Exception):
    """A request to the Ollama server did not succeed."""


class Unreachable(ApiError):
    """The server gave no answer, fell silent, or broke the connection."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"Ollama server at {url}: {reason}")
        self.url = url
        self.reason = reason


class OllamaError(ApiError):
    """The server answered with an error, or with something that is not Ollama's format.

    ``status`` is the HTTP status: 200 for an error sent inside a stream. ``text`` is Ollama's own text.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Model:
    """A model that the server holds; ``digest`` is the hex sha256 of its manifest, ``size`` is in bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Shown:
    """What the server tells about one model that it holds.

    ``weights`` are the blobs it is made of. ``parameters`` has every value of a key, as Ollama writes it: a key such as
    ``stop`` may have several. ``embeds`` says that the model makes embeddings and does not chat. ``shape`` is None
    where the server does not tell it, and ``license`` is the text kept beside it.
    """

    weights: tuple[str, ...]
    template: str
    system: str
    parameters: dict[str, list[str]]
    embeds: bool
    shape: Shape | None = None
    license: str = ""


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    ``digest`` is as in ``Model``; ``forever`` tells that nothing but the need for room ends its stay. ``bytes`` is what
    it takes of all memory, and ``gpu_bytes`` what of that lies on GPUs.
    """

    name: str
    digest: str
    forever: bool
    bytes: int
    gpu_bytes: int


class Client:
    """Talks to one Ollama server directly, never through a proxy or with credentials of a netrc file."""

    def __init__(self, url: str) -> None:
        """``url`` is the server's base address; raises ValueError when it is not one."""
        scheme, _separator, address = url.partition("://")
        if scheme not in ("http", "https") or not _ADDRESS.fullmatch(address):
            # The address itself is not repeated: it may hold a password.
            raise ValueError(
                "The address of the Ollama server must be http:// or https:// with a host, a port and at most a path, "
                "without user name, password and query. Write it like http://127.0.0.1:11434."
            )
        self.url = url.rstrip("/")
        # Ansible's open_url reads the machine's certificates at each request, which takes longer than the answer.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def version(self, timeout_s: float = _ANSWER_S) -> str:
        """The server's version, for example ``0.34.2``. Raises Unreachable or OllamaError."""
        version: str = _field(self._json("GET", "/api/version", timeout_s=timeout_s), "version", str)
        return version

    def wait(self, wait_s: float) -> str:
        """Ask until the server answers and return its version; raises Unreachable after ``wait_s`` seconds."""
        deadline = time.monotonic() + wait_s
        while True:
            remaining = deadline - time.monotonic()
            try:
                return self.version(timeout_s=min(_STARTUP_ANSWER_S, max(remaining, _STARTUP_POLL_S)))
            except Unreachable:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise
                time.sleep(min(_STARTUP_POLL_S, remaining))

    def tags(self) -> list[Model]:
        """The models that the server holds. Raises Unreachable or OllamaError."""
        # A nil list in Go is sent as null.
        entries = self._json("GET", "/api/tags").get("models") or []
        if not isinstance(entries, list):
            raise OllamaError(200, "the answer's field 'models' is not a list")
        return [
            Model(_field(item, "name", str), _field(item, "digest", str), _field(item, "size", int)) for item in entries
        ]

    def delete(self, name: str) -> None:
        """Remove a held model. Raises Unreachable, or OllamaError with status 404 when it is not held."""
        with self._open("DELETE", "/api/delete", {"model": name}, _ANSWER_S):
            pass

    def pull(self, name: str, silence_s: float = PULL_SILENCE_S, told: Told | None = None) -> None:
        """Fetch a model; returns when the server says ``success`` last.

        ``silence_s`` is how long the server may send nothing, in seconds; ``told`` is given each line as it comes. The
        server answers 200 before it looks for the model and reports failures in a later line (Ollama server/routes.go
        PullHandler), which raises OllamaError with Ollama's own text. Raises Unreachable when the stream falls silent
        or the connection breaks.
        """
        self._follow("pull", {"model": name}, silence_s, told)

    def create(
        self,
        name: str,
        source: dict[str, Any],
        parameters: dict[str, Any],
        texts: dict[str, str],
        silence_s: float,
        told: Told | None = None,
    ) -> None:
        """Make a model with parameters and texts of its own, in place of one of that name.

        ``source`` is ``{"from": name}`` of a held model, whose other parameters and texts stay, or ``{"files": {file
        name: digest}}`` of uploaded files, and maybe ``quantize`` (Ollama server/create.go). ``parameters`` are
        Ollama's, such as ``{"num_ctx": 8192}``, ``texts`` the keys ``system`` and ``template``. Raises as ``pull``.
        """
        self._follow("create", {"model": name, **source, "parameters": parameters, **texts}, silence_s, told)

    def has_blob(self, digest: str) -> bool:
        """Whether the server has a file, by its hex sha256. Raises Unreachable or OllamaError."""
        try:
            with self._open("HEAD", f"/api/blobs/sha256:{digest}", None, _ANSWER_S):
                return True
        except OllamaError as error:
            if error.status == 404:
                return False
            raise

    def upload(self, digest: str, path: str, silence_s: float, told: Told | None = None) -> None:
        """Give the server a file, which must have this hex sha256.

        ``told`` is given lines as of a pull. Raises OSError, Unreachable, or OllamaError when the sum is another.
        """
        size = os.path.getsize(path)
        line = {"digest": f"sha256:{digest}", "total": size}
        with open(path, "rb") as file:
            pieces = chunks(file, lambda sent: told({**line, "completed": sent}) if told else None)
            with self._open("POST", f"/api/blobs/sha256:{digest}", pieces, silence_s, size):
                pass

    def show(self, name: str) -> Shown:
        """What a held model is made of. Raises Unreachable, or OllamaError with status 404 when it is not held."""
        answer = self._json("POST", "/api/show", {"model": name})
        capabilities = answer.get("capabilities") or []
        return Shown(
            weights=_weights(_field(answer, "modelfile", str)),
            template=str(answer.get("template") or ""),
            system=str(answer.get("system") or ""),
            parameters=_parameters(str(answer.get("parameters") or "")),
            embeds="embedding" in capabilities and "completion" not in capabilities,
            license=str(answer.get("license") or ""),
            shape=read_shape(answer.get("model_info") or {}, has_projector="vision" in capabilities),
        )

    def loaded(self) -> list[Loaded]:
        """The models in memory. Raises Unreachable or OllamaError."""
        entries = self._json("GET", "/api/ps").get("models") or []
        if not isinstance(entries, list):
            raise OllamaError(200, "the answer's field 'models' is not a list")
        return [
            Loaded(
                _field(item, "name", str),
                _field(item, "digest", str),
                _is_forever(_field(item, "expires_at", str)),
                _field(item, "size", int),
                _field(item, "size_vram", int),
            )
            for item in entries
        ]

    def keep_loaded(self, name: str, silence_s: float) -> None:
        """Load a model and keep it in memory; returns when it is loaded.

        ``silence_s`` is how long the server may send nothing, in seconds: it answers when the model is loaded.
        Raises Unreachable or OllamaError.
        """
        self._touch(name, -1, silence_s)

    def load(self, name: str, silence_s: float) -> None:
        """Load a model for as long as the server keeps one that nobody asks. Raises Unreachable or OllamaError."""
        self._touch(name, None, silence_s)

    def unload(self, name: str) -> None:
        """Take a model out of memory once it has given its answers. Raises Unreachable or OllamaError."""
        self._touch(name, 0, _ANSWER_S)

    def _touch(self, name: str, keep_alive: int | None, silence_s: float) -> None:
        """Ask a model nothing, which sets how long it stays; models for embeddings refuse /api/generate."""
        # As text, -1 is no duration for Ollama; as a number it means for ever.
        request = {"model": name, **({} if keep_alive is None else {"keep_alive": keep_alive})}
        if self.show(name).embeds:
            self._json("POST", "/api/embed", request, silence_s)
        else:
            self._json("POST", "/api/generate", {**request, "stream": False}, silence_s)

    def _follow(self, verb: str, payload: dict[str, Any], silence_s: float, told: Told | None = None) -> None:
        """Send a request that is answered by lines of progress, and read them to the end."""
        status = ""
        with self._open("POST", f"/api/{verb}", {**payload, "stream": True}, silence_s) as response:
            while True:
                raw = response.readline(_MAX_LINE_BYTES)
                if not raw:
                    break
                if not raw.strip():
                    continue
                line = _object(raw)
                if line.get("error"):
                    raise OllamaError(200, str(line["error"]))
                status = str(line.get("status") or "")
                if told:
                    told(line)
        if status != "success":
            raise Unreachable(self.url, f"the {verb} ended without success, its last status was {status!r}")

    def _json(
        self, method: str, path: str, payload: dict[str, Any] | None = None, timeout_s: float = _ANSWER_S
    ) -> dict[str, Any]:
        """Send a request and return the answer's JSON object."""
        with self._open(method, path, payload, timeout_s) as response:
            body: bytes = response.read()
        return _object(body)

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, payload: dict[str, Any] | Iterator[bytes] | None, timeout_s: float, size: int = 0
    ) -> Iterator[Any]:
        """Yield the open response; failures while sending or reading become Unreachable or OllamaError.

        A payload that is no JSON object is sent as it is, and ``size`` is its length in bytes.
        """
        headers = {"Content-Type": "application/json"}
        data: bytes | Iterator[bytes] | None
        if payload is None or isinstance(payload, dict):
            data = None if payload is None else json.dumps(payload).encode()
        else:
            data, headers = payload, {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        try:
            request = urllib.request.Request(  # noqa: S310 - the scheme was checked when the client was made
                self.url + path, data=data, headers=headers, method=method
            )
            with contextlib.closing(self._opener.open(request, timeout=timeout_s)) as response:
                yield response
        except urllib.error.HTTPError as error:
            raise OllamaError(error.code, _error_text(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.url, _reason(error, timeout_s)) from error


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``; raises OllamaError when there is none."""
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        start = raw[:_MAX_ERROR_CHARACTERS].decode(errors="replace").strip()
        raise OllamaError(200, f"the answer is not Ollama's format, it starts with {start!r}")
    return value


def _weights(modelfile: str) -> tuple[str, ...]:
    """The blobs named by the first commands of a Modelfile; what follows is free text that may look like them."""
    found = []
    for line in modelfile.splitlines():
        command, _separator, blob = line.partition(" ")
        if command in ("FROM", "ADAPTER"):
            found.append(blob.strip())
        elif line.strip() and not line.startswith("#"):
            break
    return tuple(sorted(found))


def _parameters(text: str) -> dict[str, list[str]]:
    """The parameters as /api/show writes them: a line for each value, the key first (Ollama server/routes.go)."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _separator, value = line.strip().partition(" ")
        if key:
            found.setdefault(key, []).append(value.strip())
    return found


def _is_forever(expires_at: str) -> bool:
    """Whether a time (RFC 3339) is so far away that only keep_alive -1 sets it: Ollama adds 292 years."""
    year = re.match(r"(\d{4,})-", expires_at)
    return year is not None and int(year.group(1)) > time.gmtime().tm_year + _YEARS_THAT_MEAN_FOREVER


def _field(item: Any, field: str, kind: type) -> Any:
    """The field of a JSON object; raises OllamaError when it is missing or of another type."""
    value = item.get(field) if isinstance(item, dict) else None
    if not isinstance(value, kind):
        raise OllamaError(200, f"the answer is not Ollama's format, it lacks the field {field!r}")
    return value


def _error_text(error: urllib.error.HTTPError) -> str:
    """Ollama's own text in an error answer, else the start of the body, else the HTTP reason."""
    try:
        body = error.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException):
        body = ""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and parsed.get("error"):
        return str(parsed["error"])
    return body[:_MAX_ERROR_CHARACTERS] or str(error.reason)


def _reason(error: Exception, timeout_s: float) -> str:
    """What broke, in words; the same for a time-out while connecting and one while reading."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    # Before Python 3.10 a socket's time-out is a class of its own, told apart only by its text.
    if isinstance(cause, TimeoutError) or str(cause) == "timed out":
        return f"it sent nothing for {timeout_s:g} seconds"
    if isinstance(cause, http.client.IncompleteRead):
        return "the connection was cut in the middle of the answer"
    return str(getattr(cause, "strerror", None) or cause) or type(cause).__name__
