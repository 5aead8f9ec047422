#!/usr/bin/env python3
"""Stand-in for the `ollama` binary: the same commands and the same wire format, without any model.

It exists because the real one cannot run where the tests run. Answers are made from the request, downloads are only
numbers, and the manifests of the models it holds are kept on disk as Ollama keeps them. The texts, codes and orders
follow Ollama's `server/routes.go`, `server/images.go`, `server/create.go`, `middleware/openai.go` and `cmd/cmd.go`.
`README.md` beside this file lists the variables and the control route.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import unquote, urlsplit

VERSION = "0.34.2"
DEFAULT_HOST = "0.0.0.0:11434"
REGISTRY_HOST = "registry.ollama.ai"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
PULL_TICK_SECONDS = 0.06
# What the template of a chat puts around each message.
TOKENS_OF_A_MESSAGE = 4
# Go's largest duration, 292 years: what Ollama adds to the clock for a model that is kept for ever.
LONGEST_DURATION_SECONDS = (2**63 - 1) / 1e9
NO_SUCH_MODEL = "pull model manifest: file does not exist"
# Of every model that is loaded.
LAYERS = 29
FAULTS = ("refuse", "hang", "500", "429", "cut")
INFERENCE_PATHS = frozenset(
    {
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/api/embeddings",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
    }
)

Json = dict[str, Any]


class ApiError(Exception):
    """An answer with an HTTP status and Ollama's message; the caller gives it the shape of the API it speaks."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class LibraryModel:
    """What the registry offers under one name. `size` is the weights in bytes, the other lengths are in tokens."""

    size: int
    family: str
    parameter_size: str
    quantization: str
    context_length: int
    embedding_length: int
    capabilities: tuple[str, ...] = ("completion",)


_TOOLS = ("completion", "tools")
_THINKING = ("completion", "tools", "thinking")
_EMBEDDING = ("embedding",)

LIBRARY: dict[str, LibraryModel] = {
    "qwen3.5:0.8b": LibraryModel(1_000_000_000, "qwen35", "0.8B", "Q8_0", 262144, 1024, _THINKING),
    "qwen3.5:2b": LibraryModel(2_700_000_000, "qwen35", "2B", "Q8_0", 262144, 2048, _THINKING),
    "qwen3.5:4b": LibraryModel(3_400_000_000, "qwen35", "4B", "Q4_K_M", 262144, 2560, _THINKING),
    "qwen3.5:9b": LibraryModel(6_600_000_000, "qwen35", "9B", "Q4_K_M", 262144, 4096, _THINKING),
    "qwen3.5:latest": LibraryModel(6_600_000_000, "qwen35", "9B", "Q4_K_M", 262144, 4096, _THINKING),
    "qwen3:4b-instruct": LibraryModel(2_500_000_000, "qwen3", "4.0B", "Q4_K_M", 262144, 2560, _TOOLS),
    "qwen3:8b": LibraryModel(5_200_000_000, "qwen3", "8.2B", "Q4_K_M", 40960, 4096, _THINKING),
    "qwen2.5:0.5b": LibraryModel(398_000_000, "qwen2", "494.03M", "Q4_K_M", 32768, 896, _TOOLS),
    "smollm2:135m": LibraryModel(271_000_000, "llama", "134.52M", "F16", 8192, 576, _TOOLS),
    "llama3.2:1b": LibraryModel(1_300_000_000, "llama", "1.2B", "Q8_0", 131072, 2048, _TOOLS),
    "llama3.2:3b": LibraryModel(2_000_000_000, "llama", "3.2B", "Q4_K_M", 131072, 3072, _TOOLS),
    "llama3.2:latest": LibraryModel(2_000_000_000, "llama", "3.2B", "Q4_K_M", 131072, 3072, _TOOLS),
    "gemma4:12b": LibraryModel(7_600_000_000, "gemma4", "12B", "Q4_K_M", 131072, 3840, _THINKING),
    "gpt-oss:20b": LibraryModel(13_800_000_000, "gptoss", "20.9B", "MXFP4", 131072, 2880, _THINKING),
    "mistral:7b-instruct": LibraryModel(4_400_000_000, "llama", "7.2B", "Q4_K_M", 32768, 4096, _TOOLS),
    "neural-chat:latest": LibraryModel(4_100_000_000, "llama", "7B", "Q4_0", 32768, 4096),
    "nomic-embed-text:latest": LibraryModel(274_000_000, "nomic-bert", "137M", "F16", 2048, 768, _EMBEDDING),
    "embeddinggemma:latest": LibraryModel(622_000_000, "gemma3", "307.58M", "BF16", 2048, 768, _EMBEDDING),
    "qwen3-embedding:0.6b": LibraryModel(639_000_000, "qwen3", "595.78M", "Q8_0", 32768, 1024, _EMBEDDING),
    "all-minilm:latest": LibraryModel(46_000_000, "bert", "23M", "F16", 512, 384, _EMBEDDING),
    "test/slow:latest": LibraryModel(500_000_000, "llama", "1B", "Q4_0", 8192, 1024),
    "test/broken:latest": LibraryModel(500_000_000, "llama", "1B", "Q4_0", 8192, 1024),
    "test/huge:latest": LibraryModel(900 * 10**12, "llama", "1600T", "Q4_0", 8192, 1024),
}

_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class ModelName:
    """A model name as Ollama reads it (`types/model/name.go`): host/namespace/model:tag with its defaults filled in."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read `text`; raise `ApiError` 400 when it is not a model name."""
        rest = re.sub(r"^https?://", "", text)
        tag = "latest"
        if ":" in rest.rpartition("/")[2]:
            rest, _, tag = rest.rpartition(":")
        parts = rest.split("/")
        host, namespace = REGISTRY_HOST, "library"
        if len(parts) == 3:
            host, namespace = parts[0], parts[1]
        elif len(parts) == 2:
            namespace = parts[0]
        name = cls(host, namespace, parts[-1], tag)
        checked = (host.replace(":", "_"), namespace, name.model, tag)
        if len(parts) > 3 or not all(_NAME_PART.fullmatch(part) for part in checked):
            raise ApiError(400, "invalid model name")
        return name

    @property
    def short(self) -> str:
        """The shortest form, the one /api/tags shows; the tag is never left out."""
        prefix = "" if self.namespace == "library" else f"{self.namespace}/"
        if self.host != REGISTRY_HOST:
            prefix = f"{self.host}/{self.namespace}/"
        return f"{prefix}{self.model}:{self.tag}"

    @property
    def full(self) -> str:
        """The name with nothing left out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def folded(self) -> str:
        """What two names that mean the same model have in common."""
        return self.full.lower()


def sha256_hex(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def compact_json(value: object) -> bytes:
    """Return `value` as JSON bytes that are the same for the same value."""
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Layer:
    """One blob of a model. `size` is what a download would cost; `content` is what is kept on disk instead."""

    media_type: str
    content: bytes
    size: int

    @property
    def digest(self) -> str:
        """The blob's digest, computed from what is kept."""
        return f"sha256:{sha256_hex(self.content)}"

    def descriptor(self) -> Json:
        """The layer's entry in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def small_layer(kind: str, content: bytes) -> Layer:
    """A layer whose content is kept whole; `kind` is template, params, system, license or messages."""
    return Layer(LAYER_TYPE + kind, content, len(content))


def manifest_bytes(config: Layer, layers: list[Json]) -> bytes:
    """The manifest that lists `layers` (descriptors) and `config`."""
    return compact_json(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config.descriptor(), "layers": layers}
    )


def config_layer(values: Json) -> Layer:
    """The config blob of a model."""
    content = compact_json(values)
    return Layer(CONFIG_TYPE, content, len(content))


@dataclass(frozen=True)
class Published:
    """A model as the registry holds it: the manifest's bytes and every blob it names, weights first, config last."""

    manifest: bytes
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Bytes to download when nothing is there yet."""
        return sum(layer.size for layer in self.layers)


def published(name: ModelName) -> Published | None:
    """Return what the registry holds under `name`, or None when it holds nothing."""
    if name.host.lower() != REGISTRY_HOST or name.short.lower() not in LIBRARY:
        return None
    key = name.short.lower()
    model = LIBRARY[key]
    weights = f"{key.partition(':')[0]} {model.parameter_size} {model.quantization}: weights of the Ollama stand-in\n"
    template = "{{ if .Tools }}{{ .Tools }}{{ end }}{{ .Prompt }}" if "tools" in model.capabilities else "{{ .Prompt }}"
    layers = [
        Layer(LAYER_TYPE + "model", weights.encode(), model.size),
        small_layer("template", template.encode()),
        small_layer("params", compact_json({"temperature": 0.7})),
    ]
    config = config_layer(
        {
            "model_format": "gguf",
            "model_family": model.family,
            "model_families": [model.family],
            "model_type": model.parameter_size,
            "file_type": model.quantization,
            "context_length": model.context_length,
            "embedding_length": model.embedding_length,
            "capabilities": list(model.capabilities),
            "architecture": "amd64",
            "os": "linux",
        }
    )
    manifest = manifest_bytes(config, [layer.descriptor() for layer in layers])
    return Published(manifest, (*layers, config))


def registry_answer(path: str) -> tuple[int, str, bytes]:
    """Answer `GET path` as registry.ollama.ai does for manifests: status, content type, body."""
    found = re.fullmatch(r"/v2/(?P<model>[^:]+)/manifests/(?P<tag>[^/:]+)", urlsplit(path).path)
    if found is None:
        return 404, "text/plain; charset=utf-8", b"404 page not found"
    try:
        model = published(ModelName.parse(f"{found['model']}:{found['tag']}"))
    except ApiError:
        model = None
    if model is None:
        error = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": found["tag"]}}
        return 404, "application/json", compact_json({"errors": [error]})
    return 200, MANIFEST_TYPE, model.manifest


@dataclass(frozen=True)
class HeldModel:
    """A model that was pulled or created here."""

    name: ModelName
    manifest: bytes
    config: Json
    modified: float

    @property
    def digest(self) -> str:
        """The digest /api/tags shows: the SHA-256 of the manifest's bytes, without a prefix."""
        return sha256_hex(self.manifest)

    @property
    def blobs(self) -> list[Json]:
        """Descriptors of all blobs, the config last."""
        manifest = json.loads(self.manifest)
        return [*manifest["layers"], manifest["config"]]

    @property
    def size(self) -> int:
        """Sum of all blobs, in bytes."""
        return sum(int(blob["size"]) for blob in self.blobs)

    @property
    def capabilities(self) -> list[str]:
        """What the model can do: completion, tools, thinking, embedding."""
        return list(self.config["capabilities"])

    def details(self) -> Json:
        """The `details` object of /api/tags, /api/ps and /api/show."""
        return {
            "parent_model": "",
            "format": self.config["model_format"],
            "family": self.config["model_family"],
            "families": self.config["model_families"],
            "parameter_size": self.config["model_type"],
            "quantization_level": self.config["file_type"],
            "context_length": self.config["context_length"],
            "embedding_length": self.config["embedding_length"],
        }


class ModelStore:
    """The models directory, laid out as Ollama's: `manifests/HOST/NAMESPACE/MODEL/TAG` and `blobs/sha256-HEX`."""

    def __init__(self, root: Path) -> None:
        self._manifests = root / "manifests"
        self._blobs = root / "blobs"
        self._lock = threading.RLock()
        self._manifests.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(parents=True, exist_ok=True)

    def models(self) -> list[HeldModel]:
        """All models, the one changed last first."""
        with self._lock:
            found = [self._read(path) for path in self._manifests.glob("*/*/*/*")]
        return sorted(found, key=lambda model: (-model.modified, model.name.short))

    def find(self, name: ModelName) -> HeldModel | None:
        """The model called `name`, in any case, or None."""
        return next((model for model in self.models() if model.name.folded == name.folded), None)

    def write_manifest(self, name: ModelName, manifest: bytes) -> bool:
        """Hold `manifest` under `name`, in any case; say whether that left blobs that no model needs any more."""
        with self._lock:
            replaced = self.find(name)
            target = self._manifest_path(replaced.name if replaced else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.parent.parent / f".{target.name}.new"
            partial.write_bytes(manifest)
            partial.replace(target)
            return replaced is not None and self._prune(replaced)

    def delete(self, model: HeldModel) -> None:
        """Forget `model` and every blob that no other model needs."""
        with self._lock:
            path = self._manifest_path(model.name)
            path.unlink()
            for folder in path.parents[:3]:
                if any(folder.iterdir()):
                    break
                folder.rmdir()
            self._prune(model)

    def blob_path(self, digest: str) -> Path:
        """Where the blob with `digest` lies; raise `ApiError` 400 when that is no digest."""
        if not re.fullmatch(r"sha256[:-][0-9a-fA-F]{64}", digest):
            raise ApiError(400, "invalid digest format")
        return self._blobs / digest.replace(":", "-")

    def downloaded(self, digest: str) -> int:
        """Bytes of an unfinished download that need not be fetched again."""
        try:
            return int(json.loads(self._partial_path(digest).read_bytes())["completed"])
        except FileNotFoundError:
            return 0

    def note_downloaded(self, digest: str, completed: int) -> None:
        """Remember how far a download has come, in bytes."""
        path = self._partial_path(digest)
        # Two clients may pull the same model, and each reads what the other writes.
        fresh = path.with_name(f"{path.name}-{threading.get_ident()}")
        fresh.write_bytes(compact_json({"completed": completed}))
        fresh.replace(path)

    def finish_download(self, layer: Layer) -> None:
        """Put the blob in place of its unfinished download."""
        self.blob_path(layer.digest).write_bytes(layer.content)
        self._partial_path(layer.digest).unlink(missing_ok=True)

    def _read(self, path: Path) -> HeldModel:
        manifest = path.read_bytes()
        config = json.loads(self.blob_path(json.loads(manifest)["config"]["digest"]).read_bytes())
        name = ModelName(*path.relative_to(self._manifests).parts)
        return HeldModel(name, manifest, config, path.stat().st_mtime)

    def _prune(self, replaced: HeldModel) -> bool:
        needed = {blob["digest"] for model in self.models() for blob in model.blobs}
        unused = [blob["digest"] for blob in replaced.blobs if blob["digest"] not in needed]
        for digest in unused:
            self.blob_path(digest).unlink(missing_ok=True)
        return bool(unused)

    def _partial_path(self, digest: str) -> Path:
        blob = self.blob_path(digest)
        return blob.with_name(f"{blob.name}-partial")

    def _manifest_path(self, name: ModelName) -> Path:
        return self._manifests / name.host / name.namespace / name.model / name.tag


_DURATION = re.compile(r"(-?)((?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def keep_alive_seconds(value: object) -> float:
    """Read a keep_alive: a number of seconds or a Go duration; infinite when negative. `ApiError` 400 otherwise."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return math.inf if value < 0 else float(value)
    if not isinstance(value, str):
        raise ApiError(400, f"Unsupported type: '{type(value).__name__}'")
    found = _DURATION.fullmatch(value)
    if found is None:
        problem = "missing unit in" if re.fullmatch(r"-?\d+(\.\d+)?", value) else "invalid"
        raise ApiError(400, f'time: {problem} duration "{value}"')
    amounts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", found[2])
    seconds = sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in amounts)
    return math.inf if found[1] and seconds else seconds


@dataclass(frozen=True)
class Settings:
    """What the environment decides; all times are in seconds."""

    home: Path
    models: Path
    host: str = DEFAULT_HOST
    keep_alive: float = 300.0
    context_length: int = 4096
    max_loaded_models: int = 3
    cloud_disabled: bool = False
    slow_pull: float = 20.0
    pull: float = 0.5
    chunk: float = 0.01
    load: float = 0.0
    devices: Path = Path("/dev")
    libraries: tuple[str, ...] = ("CUDA", "Vulkan")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables; raise `ApiError` for a keep-alive and `ValueError` for a number that cannot be read."""
        home = Path(environment.get("HOME") or "/")
        keep_alive = environment.get("OLLAMA_KEEP_ALIVE") or "5m"
        if re.fullmatch(r"-?\d+", keep_alive):
            keep_alive += "s"
        return cls(
            home=home,
            models=Path(environment.get("OLLAMA_MODELS") or home / ".ollama" / "models"),
            host=environment.get("OLLAMA_HOST") or DEFAULT_HOST,
            keep_alive=keep_alive_seconds(keep_alive),
            context_length=int(environment.get("OLLAMA_CONTEXT_LENGTH") or 0) or 4096,
            max_loaded_models=int(environment.get("OLLAMA_MAX_LOADED_MODELS") or 0) or 3,
            cloud_disabled=(environment.get("OLLAMA_NO_CLOUD") or "0").lower() not in {"0", "false"},
            slow_pull=float(environment.get("OLLAMA_DOUBLE_SLOW_SECONDS") or 20),
            pull=float(environment.get("OLLAMA_DOUBLE_PULL_SECONDS") or 0.5),
            chunk=float(environment.get("OLLAMA_DOUBLE_CHUNK_SECONDS") or 0.01),
            load=float(environment.get("OLLAMA_DOUBLE_LOAD_SECONDS") or 0),
            devices=Path(environment.get("OLLAMA_DOUBLE_DEVICES") or "/dev"),
            libraries=tuple((environment.get("OLLAMA_DOUBLE_LIBRARIES") or "CUDA,Vulkan").split(",")),
        )


# The device node that a library has to open; none of them is there where a container got no GPU.
NODES = {"CUDA": "nvidiactl", "ROCm": "kfd", "Vulkan": "dri/renderD*"}


def gpu_library(settings: Settings) -> str:
    """The library by which a GPU is reached now, or `cpu`: a node that is lost cannot be opened any more."""
    for library in settings.libraries:
        for node in sorted(settings.devices.glob(NODES[library])):
            with suppress(OSError), node.open("rb"):
                return library
    return "cpu"


def host_and_port(text: str) -> tuple[str, int]:
    """Split an OLLAMA_HOST such as `0.0.0.0:11434`, `:8080`, `box` or `http://box:11434` (`envconfig.Host`)."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    default = 80 if "://" in text else 11434
    return parts.hostname or "0.0.0.0", default if parts.port is None else parts.port


@dataclass
class LoadedModel:
    """A model in memory. It stays `keep_alive` seconds after its last use; `users` requests are using it now."""

    model: HeldModel
    context_length: int
    keep_alive: float
    expires_at: float
    users: int = 0
    library: str = "cpu"


@dataclass(frozen=True)
class Generation:
    """An answer in pieces, one piece a token."""

    prompt_tokens: int
    thinking: list[str]
    content: list[str]
    done_reason: str
    load_seconds: float

    @property
    def tokens(self) -> int:
        """Number of tokens of the answer, thoughts included."""
        return len(self.thinking) + len(self.content)


@dataclass
class Fault:
    """What goes wrong now, and for how many requests; without a number until it is taken back."""

    kind: str
    remaining: int | None = None


def pieces(text: str) -> list[str]:
    """Cut `text` into words that keep the space before them: the tokens of this stand-in."""
    return re.findall(r"\s*\S+", text)


def newest_that_fit(texts: list[str], context: int) -> list[str]:
    """Cut the oldest words until `texts` fit a context in tokens, without a word about it: as Ollama does."""
    fitting: list[str] = []
    room = context
    for text in reversed(texts):
        room = max(0, room - TOKENS_OF_A_MESSAGE)
        words = pieces(text)[-room:] if room else []
        room -= len(words)
        fitting.insert(0, "".join(words))
    return fitting


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 that depends on `text` alone, in 32-bit floats as Ollama computes them."""
    raw = struct.unpack(f"<{dimensions}I", hashlib.shake_256(text.encode()).digest(4 * dimensions))
    return normalized([value / 2**31 - 1 for value in raw])


def normalized(vector: list[float]) -> list[float]:
    """Scale `vector` to length 1, rounded to 32-bit floats."""
    length = max(math.sqrt(sum(value * value for value in vector)), 1e-12)
    packed = struct.pack(f"<{len(vector)}f", *(value / length for value in vector))
    return list(struct.unpack(f"<{len(vector)}f", packed))


def message_text(content: object) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


class Machine:
    """Everything behind the API: held and loaded models, pulls, answers, the fault in force, and counters."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = ModelStore(settings.models)
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._loaded: dict[str, LoadedModel] = {}
        self._fault: Fault | None = None
        self._control_calls = 0
        self._requests: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._pulls: Counter[str] = Counter()

    def count(self, method: str, path: str, model: str) -> None:
        """Note that a request came in."""
        with self._lock:
            self._requests[f"{method} {path}"] += 1
            if model:
                self._models[model] += 1

    def report(self) -> Json:
        """The fault in force and the counters, without a word of any prompt."""
        with self._lock:
            return {
                "fault": self._fault.kind if self._fault else None,
                "remaining": self._fault.remaining if self._fault else None,
                "requests": dict(self._requests),
                "models": dict(self._models),
                "pulls": {key: self._pulls[key] for key in ("started", "finished", "failed", "cancelled")},
            }

    def control(self, body: Json) -> None:
        """Set or clear the fault; raise `ApiError` 400 for one that is not known."""
        kind, count = body.get("fault"), body.get("count")
        if kind is not None and kind not in FAULTS:
            raise ApiError(400, f"unknown fault {kind!r}: write null or one of {', '.join(FAULTS)}")
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise ApiError(400, f"count is {count!r}: write a whole number from 1, or leave it out")
        with self._lock:
            self._fault = Fault(kind, count) if kind is not None else None
            self._control_calls += 1

    def take_fault(self, path: str) -> str | None:
        """The fault that the request for `path` has to suffer. refuse and hang hit all, the others only inference."""
        with self._lock:
            fault = self._fault
            if fault is None or (fault.kind not in {"refuse", "hang"} and path not in INFERENCE_PATHS):
                return None
            if fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining == 0:
                    self._fault = None
            return fault.kind

    @property
    def control_calls(self) -> int:
        """How often the fault was set or cleared; a request that hangs does so until this changes."""
        with self._lock:
            return self._control_calls

    def resolve(self, text: object, missing: str = "model '{}' not found") -> HeldModel:
        """The held model named `text`; `ApiError` 400 without a name, 404 with `missing` when it is not held."""
        if not isinstance(text, str) or not text:
            raise ApiError(400, "model is required")
        model = self.store.find(ModelName.parse(text))
        if model is None:
            raise ApiError(404, missing.format(text))
        return model

    def pull(self, name: ModelName) -> Generator[Json, None, None]:
        """Pull `name`, giving each line of the stream; raise `ApiError` where Ollama writes an error line.

        Closing the iterator cancels the pull; what was fetched by then stays fetched.
        """
        with self._lock:
            self._pulls["started"] += 1
        outcome = "cancelled"
        try:
            yield from self._pull_lines(name)
            outcome = "finished"
        except ApiError:
            outcome = "failed"
            raise
        finally:
            with self._lock:
                self._pulls[outcome] += 1

    def _pull_lines(self, name: ModelName) -> Iterator[Json]:
        yield {"status": "pulling manifest"}
        model = published(name)
        if model is None:
            raise ApiError(500, NO_SUCH_MODEL)
        seconds = self.settings.slow_pull if name.short.lower() == "test/slow:latest" else self.settings.pull
        for layer in model.layers:
            reachable = layer.size // 2 if name.short.lower() == "test/broken:latest" else layer.size
            yield from self._download(layer, seconds * layer.size / model.size, reachable)
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        if self.store.write_manifest(name, model.manifest):
            yield {"status": "removing unused layers"}
        yield {"status": "success"}

    def _download(self, layer: Layer, seconds: float, reachable: int) -> Iterator[Json]:
        line: Json = {"status": f"pulling {layer.digest[7:19]}", "digest": layer.digest, "total": layer.size}
        if self.store.blob_path(layer.digest).exists():
            yield {**line, "completed": layer.size}
            return
        start = self.store.downloaded(layer.digest)
        yield {**line, "completed": start} if start else line
        left = layer.size - start
        steps = max(1, math.ceil(seconds * left / layer.size / PULL_TICK_SECONDS))
        for step in range(1, steps + 1):
            if self.stopping.wait(seconds * left / layer.size / steps):
                raise ApiError(500, "context canceled")
            completed = start + left * step // steps
            if completed > reachable:
                raise ApiError(500, "max retries exceeded: unexpected EOF")
            # Written before the line goes out: a client that leaves now finds it again.
            self.store.note_downloaded(layer.digest, completed)
            yield {**line, "completed": completed}
        self.store.finish_download(layer)

    def create(self, body: Json) -> Generator[Json, None, None]:
        """Create a model from another, giving the stream's lines; pulls the base when it is not held."""
        name = ModelName.parse(str(body.get("model") or body.get("name") or ""))
        if not body.get("from"):
            if not body.get("files"):
                raise ApiError(400, "neither 'from' or 'files' was specified")
            yield from self._create_from_files(name, body)
            return
        base_name = ModelName.parse(str(body["from"]))
        base = self.store.find(base_name)
        if base is None:
            yield from self.pull(base_name)
            base = self.resolve(base_name.short)
        kept, added = self._changed_layers(base, body)
        for descriptor in kept:
            yield {"status": f"using existing layer {descriptor['digest']}"}
        for layer in added:
            existed = self.store.blob_path(layer.digest).exists()
            self.store.finish_download(layer)
            yield {"status": f"{'using existing' if existed else 'creating new'} layer {layer.digest}"}
        layers = [*kept, *(layer.descriptor() for layer in added)]
        diff_ids = [descriptor["digest"] for descriptor in layers]
        config = config_layer({**base.config, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        yield {"status": "writing manifest"}
        self.store.finish_download(config)
        self.store.write_manifest(name, manifest_bytes(config, layers))
        yield {"status": "success"}

    def _create_from_files(self, name: ModelName, body: Json) -> Iterator[Json]:
        """Make a model of one uploaded GGUF file, and quantize it where that is asked for."""
        ((file, digest),) = body["files"].items()
        path = self.store.blob_path(digest)
        if not path.exists():
            raise ApiError(400, f"blob {digest} for {file!r} is missing")
        content = path.read_bytes()
        # The file is written anew, under another sum (ollama/ollama#17554).
        rewritten = content + b" as Ollama writes it"
        if content[:4] != b"GGUF":
            raise ApiError(400, "unsupported content type")
        yield {"status": "parsing GGUF"}
        quantization = "F16"
        if body.get("quantize"):
            quantization = str(body["quantize"]).upper()
            if quantization not in ("Q4_K_M", "Q4_K_S", "Q8_0"):
                raise ApiError(400, f"unsupported quantization type {quantization}")
            yield {"status": f"quantizing F16 model to {quantization}"}
            rewritten += quantization.encode()
        weights = Layer(LAYER_TYPE + "model", rewritten, len(rewritten))
        added = [weights, *self._own_layers({}, body)]
        config = config_layer(
            {
                "model_format": "gguf",
                "model_family": "llama",
                "model_families": ["llama"],
                "model_type": "1B",
                "file_type": quantization,
                "context_length": 8192,
                "embedding_length": 1024,
                "capabilities": ["completion"],
                "architecture": "amd64",
                "os": "linux",
            }
        )
        for layer in (*added, config):
            self.store.finish_download(layer)
        yield {"status": "writing manifest"}
        self.store.write_manifest(name, manifest_bytes(config, [layer.descriptor() for layer in added]))
        yield {"status": "success"}

    def _changed_layers(self, base: HeldModel, body: Json) -> tuple[list[Json], list[Layer]]:
        added = self._own_layers(self.parameters(base), body)
        replaced = {layer.media_type for layer in added}
        return [layer for layer in base.blobs[:-1] if layer["mediaType"] not in replaced], added

    def _own_layers(self, inherited: Json, body: Json) -> list[Layer]:
        """The small layers that a request gives a model of its own."""
        added = []
        if body.get("parameters"):
            parameters = {**inherited, **body["parameters"]}
            added.append(small_layer("params", compact_json(dict(sorted(parameters.items())))))
        added += [small_layer(key, str(body[key]).encode()) for key in ("template", "system") if body.get(key)]
        if body.get("messages"):
            added.append(small_layer("messages", compact_json(body["messages"])))
        if body.get("license"):
            licence = body["license"]
            added.append(small_layer("license", "\n".join([licence] if isinstance(licence, str) else licence).encode()))
        return added

    def layer_text(self, model: HeldModel, kind: str) -> str:
        """The content of the model's layer of `kind`, empty when it has none."""
        digest = next((blob["digest"] for blob in model.blobs if blob["mediaType"] == LAYER_TYPE + kind), None)
        return self.store.blob_path(digest).read_text() if digest else ""

    def parameters(self, model: HeldModel) -> Json:
        """The parameters baked into the model."""
        text = self.layer_text(model, "params")
        return dict(json.loads(text)) if text else {}

    def context_of(self, model: HeldModel, body: Json) -> int:
        """Tokens that the model's context holds for a request: what it asks for, else the model, else the server."""
        options = {**self.parameters(model), **(body.get("options") or {})}
        return min(int(options.get("num_ctx") or self.settings.context_length), int(model.config["context_length"]))

    @contextmanager
    def in_memory(self, model: HeldModel, body: Json) -> Iterator[float]:
        """Hold `model` in memory while a request uses it; gives the seconds it took to load."""
        key = model.name.folded
        asked = body.get("keep_alive")
        keep_alive = None if asked is None else keep_alive_seconds(asked)
        context = self.context_of(model, body)
        with self._lock:
            self._forget_expired()
            loaded = self._loaded.get(key)
            fresh = loaded is None or loaded.context_length != context or loaded.model.digest != model.digest
            if loaded is None or fresh:
                self._make_room(key)
                default = self.settings.keep_alive if loaded is None else loaded.keep_alive
                loaded = LoadedModel(model, context, default, 0.0, 0, gpu_library(self.settings))
                if loaded.library != "cpu":
                    log(f"load_tensors: offloaded {LAYERS}/{LAYERS} layers to GPU")
                self._loaded[key] = loaded
            if keep_alive is not None:
                loaded.keep_alive = keep_alive
            loaded.users += 1
            loaded.expires_at = time.time() + min(loaded.keep_alive, LONGEST_DURATION_SECONDS)
        load_seconds = self.settings.load if fresh else 0.0
        self.stopping.wait(load_seconds)
        try:
            yield load_seconds
        finally:
            with self._lock:
                loaded.users -= 1
                loaded.expires_at = time.time() + min(loaded.keep_alive, LONGEST_DURATION_SECONDS)
                self._forget_expired()

    def unload(self, model: HeldModel) -> None:
        """Take `model` out of memory."""
        with self._lock:
            self._loaded.pop(model.name.folded, None)

    def loaded(self) -> list[LoadedModel]:
        """The models in memory, the one that stays longest first."""
        with self._lock:
            self._forget_expired()
            return sorted(self._loaded.values(), key=lambda entry: -entry.expires_at)

    def _forget_expired(self) -> None:
        now = time.time()
        for key, entry in list(self._loaded.items()):
            if entry.users == 0 and entry.expires_at <= now:
                del self._loaded[key]

    def _make_room(self, key: str) -> None:
        idle = [other for other, entry in self._loaded.items() if other != key and entry.users == 0]
        idle.sort(key=lambda other: self._loaded[other].expires_at)
        while idle and len(self._loaded) >= self.settings.max_loaded_models:
            del self._loaded[idle.pop(0)]

    def generate(
        self, asked: str, prompts: list[str], last: str, thinks: bool, limit: int, context: int, load: float
    ) -> Generation:
        """The answer of the model called `asked` to the last message; `limit` tokens at most when above 0."""
        excerpt = " ".join(last.split())[:200]
        thinking = pieces("The user wrote something, so an answer is due.") if thinks else []
        content = pieces(f"This is {asked} speaking through the Ollama stand-in. You wrote: {excerpt}")
        prompt_tokens = min(context, sum(len(pieces(prompt)) + TOKENS_OF_A_MESSAGE for prompt in prompts))
        if 0 < limit < len(thinking) + len(content):
            return Generation(prompt_tokens, thinking[:limit], content[: max(0, limit - len(thinking))], "length", load)
        return Generation(prompt_tokens, thinking, content, "stop", load)

    def embed(self, model: HeldModel, text: str, dimensions: int) -> list[float]:
        """The vector of `text`; `dimensions` cuts it when above 0 and below the model's own."""
        vector = unit_vector(f"{model.config['model_family']} {text}", int(model.config["embedding_length"]))
        return normalized(vector[:dimensions]) if 0 < dimensions < len(vector) else vector


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC for seconds since 1970; also for the far future of a model kept for ever."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.isoformat().replace("+00:00", "Z")


def openai_error(status: int, message: str) -> Json:
    """The error object of /v1 (`openai.NewError`)."""
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


class OllamaServer(ThreadingHTTPServer):
    """The HTTP server over a `Machine`; port 0 takes any free port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], settings: Settings) -> None:
        self.machine = Machine(settings)
        super().__init__(address, OllamaHandler)

    def stop(self) -> None:
        """End requests that hang or wait, then stop serving; call it from another thread than the serving one."""
        self.machine.stopping.set()
        self.shutdown()


@dataclass
class Exchange:
    """The request being answered."""

    path: str
    body: Json = field(default_factory=dict)
    cut: bool = False


class OllamaHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = f"Ollama/{VERSION}"
    disable_nagle_algorithm = True
    server: OllamaServer

    routes: ClassVar[dict[str, Callable[[OllamaHandler, Exchange], None]]] = {}

    def do_GET(self) -> None:
        """Answer a GET."""
        self._serve()

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self._serve()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._serve()

    def do_DELETE(self) -> None:
        """Answer a DELETE."""
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Write an access line like Ollama's; it holds the path, never a body."""
        print(f"[GIN] {self.log_date_time_string()} | {format % args}", file=sys.stderr, flush=True)

    @property
    def machine(self) -> Machine:
        """The machine behind this connection."""
        return self.server.machine

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            self._answer(path)
        except ApiError as error:
            body = openai_error(error.status, error.message) if path.startswith("/v1/") else {"error": error.message}
            self._send_json(error.status, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self, path: str) -> None:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise ApiError(411, "the stand-in reads only requests with a Content-Length")
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        exchange = Exchange(path)
        if path.startswith("/api/blobs/"):
            self._blob(path.removeprefix("/api/blobs/"), raw)
            return
        if self.command in {"POST", "DELETE"}:
            exchange.body = self._parse(raw)
        if path == "/_double":
            if self.command == "POST":
                self.machine.control(exchange.body)
            self._send_json(200, self.machine.report())
            return
        self.machine.count(self.command, path, str(exchange.body.get("model") or exchange.body.get("name") or ""))
        if self._suffer(self.machine.take_fault(path), exchange):
            return
        if path.startswith("/v2/") and self.command in {"GET", "HEAD"}:
            status, content_type, content = registry_answer(path)
            self._send(status, content_type, content)
            return
        if path.startswith("/v1/models/") and self.command == "GET":
            self._openai_model(path.removeprefix("/v1/models/"))
            return
        route = self.routes.get(f"{self.command} {path}")
        if route is None:
            known = any(key.endswith(f" {path}") for key in self.routes)
            self._send(
                405 if known else 404, "text/plain", b"405 method not allowed" if known else b"404 page not found"
            )
            return
        route(self, exchange)

    def _parse(self, raw: bytes) -> Json:
        if not raw:
            raise ApiError(400, "missing request body")
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise ApiError(400, f"invalid character in request body: {error}") from error
        if not isinstance(body, dict):
            raise ApiError(400, "json: cannot unmarshal the request body into an object")
        return body

    def _suffer(self, fault: str | None, exchange: Exchange) -> bool:
        if fault == "500":
            raise ApiError(500, "llama runner process has terminated: exit status 2")
        if fault == "429":
            raise ApiError(429, "too many requests")
        if fault == "refuse":
            self._reset()
        elif fault == "hang":
            calls = self.machine.control_calls
            while self.machine.control_calls == calls and not self._client_left():
                if self.machine.stopping.wait(0.02):
                    break
            self._reset()
        exchange.cut = fault == "cut"
        return fault in {"refuse", "hang"}

    def _reset(self) -> None:
        """Drop the connection with a TCP reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.connection.detach())

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def _send(self, status: int, content_type: str, content: bytes, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    def _send_json(self, status: int, body: object, cut: bool = False) -> None:
        self._send(status, "application/json; charset=utf-8", compact_json(body), cut)

    def _stream(self, content_type: str, chunks: Iterator[bytes], cut_after: int | None = None) -> None:
        """Send `chunks` as they come; break the connection after `cut_after` of them when given."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for sent, chunk in enumerate(chunks, start=1):
            if self._client_left():
                raise BrokenPipeError
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if sent == cut_after:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def _running(self, _exchange: Exchange) -> None:
        self._send(200, "text/plain; charset=utf-8", b"Ollama is running")

    def _version(self, _exchange: Exchange) -> None:
        self._send_json(200, {"version": VERSION})

    def _status(self, _exchange: Exchange) -> None:
        disabled = self.machine.settings.cloud_disabled
        self._send_json(200, {"cloud": {"disabled": disabled, "source": "env" if disabled else "none"}})

    def _tags(self, _exchange: Exchange) -> None:
        models = [
            {
                "name": model.name.short,
                "model": model.name.short,
                "modified_at": timestamp(model.modified),
                "size": model.size,
                "digest": model.digest,
                "details": model.details(),
                "capabilities": model.capabilities,
            }
            for model in self.machine.store.models()
        ]
        self._send_json(200, {"models": models})

    def _ps(self, _exchange: Exchange) -> None:
        models = [
            {
                "name": entry.model.name.short,
                "model": entry.model.name.short,
                "size": entry.model.size,
                "digest": entry.model.digest,
                "details": entry.model.details(),
                "expires_at": timestamp(entry.expires_at),
                "size_vram": 0 if entry.library == "cpu" else entry.model.size,
                "context_length": entry.context_length,
            }
            for entry in self.machine.loaded()
        ]
        self._send_json(200, {"models": models})

    def _show(self, exchange: Exchange) -> None:
        model = self.machine.resolve(exchange.body.get("model") or exchange.body.get("name"))
        layers = {kind: self.machine.layer_text(model, kind) for kind in ("template", "system", "license")}
        parameters = [(key, value) for key, value in self.machine.parameters(model).items()]
        weights = self.machine.store.blob_path(model.blobs[0]["digest"])
        modelfile = [
            '# Modelfile generated by "ollama show"',
            "# To build a new Modelfile based on this, replace FROM with:",
            f"# FROM {model.name.short}",
            "",
            f"FROM {weights}",
            f'TEMPLATE """{layers["template"]}"""',
            *([f'SYSTEM """{layers["system"]}"""'] if layers["system"] else []),
            *(f"PARAMETER {key} {value}" for key, value in parameters),
        ]
        family = model.config["model_family"]
        self._send_json(
            200,
            {
                "license": layers["license"],
                "modelfile": "\n".join(modelfile) + "\n",
                "parameters": "\n".join(f"{key:<30} {json.dumps(value)}" for key, value in parameters),
                "template": layers["template"],
                "system": layers["system"],
                "details": model.details(),
                "model_info": {
                    "general.architecture": family,
                    f"{family}.context_length": model.config["context_length"],
                    f"{family}.embedding_length": model.config["embedding_length"],
                },
                "capabilities": model.capabilities,
                "modified_at": timestamp(model.modified),
            },
        )

    def _pull(self, exchange: Exchange) -> None:
        name = ModelName.parse(str(exchange.body.get("model") or exchange.body.get("name") or ""))
        self._progress(exchange, self.machine.pull(name))

    def _create(self, exchange: Exchange) -> None:
        self._progress(exchange, self.machine.create(exchange.body))

    def _progress(self, exchange: Exchange, lines: Generator[Json, None, None]) -> None:
        """Send the lines as a stream, or the last of them (`streamResponse`, `waitForStream`)."""
        with closing(lines):
            # An error before the first line still decides the status; later ones become a line.
            last = next(lines)
            if exchange.body.get("stream") is not False:
                self._stream("application/x-ndjson", encoded_lines(last, lines))
                return
            while (line := next(lines, None)) is not None:
                last = line
                if self._client_left():
                    raise BrokenPipeError
            self._send_json(200, last)

    def _delete(self, exchange: Exchange) -> None:
        model = self.machine.resolve(exchange.body.get("model") or exchange.body.get("name"))
        self.machine.unload(model)
        self.machine.store.delete(model)
        self._send(200, "text/plain", b"")

    def _copy(self, exchange: Exchange) -> None:
        destination = str(exchange.body.get("destination") or "")
        try:
            target = ModelName.parse(destination)
        except ApiError as error:
            raise ApiError(400, f'destination "{destination}" is invalid') from error
        source = self.machine.resolve(exchange.body.get("source"), 'model "{}" not found')
        self.machine.store.write_manifest(target, source.manifest)
        self._send(200, "text/plain", b"")

    def _blob(self, digest: str, raw: bytes) -> None:
        path = self.machine.store.blob_path(digest)
        if self.command == "HEAD":
            self._send(200 if path.exists() else 404, "text/plain", b"")
        elif path.exists():
            self._send(200, "text/plain", b"")
        elif f"sha256:{sha256_hex(raw)}" != digest:
            raise ApiError(400, f'digest mismatch, expected "{digest}", got "sha256:{sha256_hex(raw)}"')
        else:
            path.write_bytes(raw)
            self._send(201, "text/plain", b"")

    def _think(self, model: HeldModel, asked: str, think: object) -> bool:
        if "thinking" in model.capabilities:
            return think is not False
        if think not in (None, False):
            raise ApiError(400, f'"{asked}" does not support thinking')
        return False

    def _able(self, model: HeldModel, asked: str, verb: str, tools: object) -> None:
        if "completion" not in model.capabilities:
            raise ApiError(400, f'"{asked}" does not support {verb}')
        if tools and "tools" not in model.capabilities:
            raise ApiError(400, f"{model.name.full} does not support tools")

    def _chat(self, exchange: Exchange) -> None:
        body = exchange.body
        model = self.machine.resolve(body.get("model"))
        asked = str(body["model"])
        messages = body.get("messages") or []
        empty = {"model": asked, "created_at": timestamp(time.time()), "message": {"role": "assistant", "content": ""}}
        if not messages and body.get("keep_alive") is not None and keep_alive_seconds(body["keep_alive"]) == 0:
            self.machine.unload(model)
            self._send_json(200, {**empty, "done": True, "done_reason": "unload"})
            return
        self._able(model, asked, "chat", body.get("tools"))
        thinks = self._think(model, asked, body.get("think"))
        with self.machine.in_memory(model, body) as load:
            if not messages:
                self._send_json(200, {**empty, "done": True, "done_reason": "load"})
                return
            generation = self._generation(model, asked, messages, thinks, body, load)
            self._native(exchange, asked, generation, lambda kind, text: {"message": chat_message(kind, text)})

    def _generation(
        self, model: HeldModel, asked: str, messages: list[Json], thinks: bool, body: Json, load: float
    ) -> Generation:
        context = self.machine.context_of(model, body)
        texts = newest_that_fit([message_text(message.get("content")) for message in messages], context)
        users = [text for text, message in zip(texts, messages, strict=True) if message.get("role") == "user"]
        options = {**self.machine.parameters(model), **(body.get("options") or {})}
        limit = int(options.get("num_predict") or 0)
        return self.machine.generate(asked, texts, users[-1] if users else "", thinks, limit, context, load)

    def _generate(self, exchange: Exchange) -> None:
        body = exchange.body
        model = self.machine.resolve(body.get("model"))
        asked = str(body["model"])
        prompt = str(body.get("prompt") or "")
        empty = {"model": asked, "created_at": timestamp(time.time()), "response": "", "done": True}
        if not prompt and body.get("keep_alive") is not None and keep_alive_seconds(body["keep_alive"]) == 0:
            self.machine.unload(model)
            self._send_json(200, {**empty, "done_reason": "unload"})
            return
        self._able(model, asked, "generate", None)
        thinks = self._think(model, asked, body.get("think"))
        with self.machine.in_memory(model, body) as load:
            if not prompt:
                self._send_json(200, {**empty, "done_reason": "load"})
                return
            generation = self._generation(model, asked, [{"role": "user", "content": prompt}], thinks, body, load)
            self._native(exchange, asked, generation, generate_fields)

    def _native(
        self, exchange: Exchange, asked: str, generation: Generation, fields: Callable[[str, str], Json]
    ) -> None:
        """Send `generation` in Ollama's own shape; `fields` puts a piece of text of a kind where this API has it."""
        chunk = self.machine.settings.chunk

        def final() -> Json:
            evaluation = int(1e9 * chunk * generation.tokens) + 1
            return {
                "done": True,
                "done_reason": generation.done_reason,
                "total_duration": int(1e9 * generation.load_seconds) + evaluation + 1,
                "load_duration": int(1e9 * generation.load_seconds) + 1,
                "prompt_eval_count": generation.prompt_tokens,
                "prompt_eval_duration": 1_000_000 * generation.prompt_tokens,
                "eval_count": generation.tokens,
                "eval_duration": evaluation,
            }

        def head() -> Json:
            return {"model": asked, "created_at": timestamp(time.time())}

        if exchange.body.get("stream") is False:
            self._pace(generation.tokens)
            whole = fields("content", "".join(generation.content))
            if generation.thinking:
                whole = merged(whole, fields("thinking", "".join(generation.thinking)))
            self._send_json(200, {**head(), **whole, **final()}, exchange.cut)
            return

        def lines() -> Iterator[bytes]:
            for kind, texts in (("thinking", generation.thinking), ("content", generation.content)):
                for text in texts:
                    self._pace(1)
                    yield compact_json({**head(), **fields(kind, text), "done": False}) + b"\n"
            yield compact_json({**head(), **fields("content", ""), **final()}) + b"\n"

        self._stream("application/x-ndjson", lines(), max(1, generation.tokens // 2) if exchange.cut else None)

    def _pace(self, tokens: int) -> None:
        self.machine.stopping.wait(tokens * self.machine.settings.chunk)

    def _embed(self, exchange: Exchange) -> None:
        vectors, tokens, load = self._vectors(exchange.body)
        answer: Json = {"model": exchange.body.get("model"), "embeddings": vectors}
        if vectors:
            answer["total_duration"] = int(1e9 * load) + 1_000_000 * len(vectors)
            answer["load_duration"] = int(1e9 * load) + 1
            answer["prompt_eval_count"] = tokens
        self._send_json(200, answer, exchange.cut)

    def _vectors(self, body: Json) -> tuple[list[list[float]], int, float]:
        given = body.get("input")
        texts = [given] if isinstance(given, str) and given else given or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ApiError(400, "invalid input type")
        model = self.machine.resolve(body.get("model"), 'model "{}" not found, try pulling it first')
        with self.machine.in_memory(model, body) as load:
            vectors = [self.machine.embed(model, text, int(body.get("dimensions") or 0)) for text in texts]
        return vectors, sum(len(pieces(text)) + 2 for text in texts), load

    def _old_embeddings(self, exchange: Exchange) -> None:
        prompt = str(exchange.body.get("prompt") or "")
        vectors, _, _ = self._vectors({**exchange.body, "input": [prompt] if prompt else []})
        self._send_json(200, {"embedding": vectors[0] if vectors else []}, exchange.cut)

    def _openai_models(self, _exchange: Exchange) -> None:
        entries = [openai_model(model, model.name.short) for model in self.machine.store.models()]
        # With no model Ollama answers null, not an empty list (openai.ToListCompletion).
        self._send_json(200, {"object": "list", "data": entries or None})

    def _openai_model(self, asked: str) -> None:
        self._send_json(200, openai_model(self.machine.resolve(asked), asked))

    def _openai_chat(self, exchange: Exchange) -> None:
        body = exchange.body
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ApiError(400, "[] is too short - 'messages'")
        model = self.machine.resolve(body.get("model"))
        asked = str(body["model"])
        self._able(model, asked, "chat", body.get("tools"))
        effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
        thinks = self._think(model, asked, None if effort is None else effort != "none")
        with self.machine.in_memory(model, {}) as load:
            options = {"options": {"num_predict": body["max_tokens"]}} if body.get("max_tokens") else {}
            generation = self._generation(model, asked, messages, thinks, options, load)
            head = openai_head("chatcmpl", asked, "chat.completion")
            call = called_tool(body.get("tools"), messages)
            if body.get("stream"):
                chunks = self._openai_chat_chunks(head, generation, call, wants_usage(body))
                self._stream("text/event-stream", chunks, max(1, generation.tokens // 2) if exchange.cut else None)
                return
            self._pace(generation.tokens)
            message: Json = {"role": "assistant", "content": "".join(generation.content)}
            if generation.thinking:
                message["reasoning"] = "".join(generation.thinking)
            choice = {"index": 0, "message": message, "finish_reason": generation.done_reason}
            if call:
                message.update(content="", tool_calls=[call])
                choice["finish_reason"] = "tool_calls"
            self._send_json(200, {**head, "choices": [choice], "usage": openai_usage(generation)}, exchange.cut)

    def _openai_chat_chunks(
        self, head: Json, generation: Generation, call: Json | None, usage: bool
    ) -> Iterator[bytes]:
        head = {**head, "object": "chat.completion.chunk"}

        def chunk(delta: Json, finish: str | None) -> bytes:
            choice = {"index": 0, "delta": {"role": "assistant", "content": "", **delta}, "finish_reason": finish}
            return server_event({**head, "choices": [choice]})

        for key, texts in (("reasoning", generation.thinking), ("content", [] if call else generation.content)):
            for text in texts:
                self._pace(1)
                yield chunk({key: text}, None)
        if call:
            yield chunk({"tool_calls": [call]}, None)
        yield chunk({}, "tool_calls" if call else generation.done_reason)
        if usage:
            yield server_event({**head, "choices": [], "usage": openai_usage(generation)})
        yield b"data: [DONE]\n\n"

    def _openai_completions(self, exchange: Exchange) -> None:
        body = exchange.body
        model = self.machine.resolve(body.get("model"))
        asked = str(body["model"])
        self._able(model, asked, "generate", None)
        with self.machine.in_memory(model, {}) as load:
            messages = [{"role": "user", "content": str(body.get("prompt") or "")}]
            options = {"options": {"num_predict": body["max_tokens"]}} if body.get("max_tokens") else {}
            generation = self._generation(model, asked, messages, False, options, load)
            head = openai_head("cmpl", asked, "text_completion")
            if body.get("stream"):
                chunks = self._openai_completion_chunks(head, generation, wants_usage(body))
                self._stream("text/event-stream", chunks, max(1, generation.tokens // 2) if exchange.cut else None)
                return
            self._pace(generation.tokens)
            choice = {"text": "".join(generation.content), "index": 0, "finish_reason": generation.done_reason}
            self._send_json(200, {**head, "choices": [choice], "usage": openai_usage(generation)}, exchange.cut)

    def _openai_completion_chunks(self, head: Json, generation: Generation, usage: bool) -> Iterator[bytes]:
        # Asked for usage, Ollama also puts zeros in every chunk before the last (middleware.CompleteWriter).
        zeros = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}} if usage else {}
        for text in generation.content:
            self._pace(1)
            yield server_event({**head, "choices": [{"text": text, "index": 0, "finish_reason": None}], **zeros})
        last = {"text": "", "index": 0, "finish_reason": generation.done_reason}
        yield server_event({**head, "choices": [last], **zeros})
        if usage:
            yield server_event({**head, "choices": [], "usage": openai_usage(generation)})
        yield b"data: [DONE]\n\n"

    def _openai_embeddings(self, exchange: Exchange) -> None:
        body = exchange.body
        encoding = str(body.get("encoding_format") or "float").lower()
        if encoding not in {"float", "base64"}:
            supported = "Supported values: ['float', 'base64']."
            raise ApiError(400, f"Invalid value for 'encoding_format' = {body['encoding_format']}. {supported}")
        given = [""] if body.get("input") == "" else body.get("input")
        if not given:
            raise ApiError(400, "invalid input")
        # keep_alive does not exist on /v1: only these fields are handed on (middleware.EmbeddingsMiddleware).
        vectors, tokens, _ = self._vectors(
            {"model": body.get("model"), "input": given, "dimensions": body.get("dimensions")}
        )
        data = [
            {"object": "embedding", "embedding": floats_base64(vector) if encoding == "base64" else vector, "index": n}
            for n, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self._send_json(200, {"object": "list", "data": data, "model": body.get("model"), "usage": usage}, exchange.cut)

    routes.update(
        {
            "GET /": _running,
            "HEAD /": _running,
            "GET /api/version": _version,
            "HEAD /api/version": _version,
            "GET /api/status": _status,
            "GET /api/tags": _tags,
            "HEAD /api/tags": _tags,
            "GET /api/ps": _ps,
            "POST /api/show": _show,
            "POST /api/pull": _pull,
            "POST /api/create": _create,
            "DELETE /api/delete": _delete,
            "POST /api/copy": _copy,
            "POST /api/chat": _chat,
            "POST /api/generate": _generate,
            "POST /api/embed": _embed,
            "POST /api/embeddings": _old_embeddings,
            "GET /v1/models": _openai_models,
            "POST /v1/chat/completions": _openai_chat,
            "POST /v1/completions": _openai_completions,
            "POST /v1/embeddings": _openai_embeddings,
        }
    )


def encoded_lines(first: Json, rest: Iterator[Json]) -> Iterator[bytes]:
    """`first` and `rest` as lines of JSON; an error on the way becomes the last line."""
    yield compact_json(first) + b"\n"
    try:
        for line in rest:
            yield compact_json(line) + b"\n"
    except ApiError as error:
        yield compact_json({"error": error.message}) + b"\n"


def chat_message(kind: str, text: str) -> Json:
    """A message of /api/chat with a piece of content or of thinking; `content` is always there."""
    if kind == "content":
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": "", kind: text}


def generate_fields(kind: str, text: str) -> Json:
    """The fields of /api/generate for a piece of content or of thinking; `response` is always there."""
    return {"response": text} if kind == "content" else {"response": "", "thinking": text}


def merged(content: Json, thinking: Json) -> Json:
    """One object with the content of the first and the thinking of the second."""
    if "message" in content:
        return {"message": {**content["message"], "thinking": thinking["message"]["thinking"]}}
    return {**content, "thinking": thinking["thinking"]}


def openai_model(model: HeldModel, asked: str) -> Json:
    """An entry of /v1/models."""
    return {"id": asked, "object": "model", "created": int(model.modified), "owned_by": model.name.namespace}


def openai_head(prefix: str, model: str, kind: str) -> Json:
    """The fields that all objects of one /v1 answer share."""
    now = time.time()
    return {
        "id": f"{prefix}-{int(now * 1000) % 1000}",
        "object": kind,
        "created": int(now),
        "model": model,
        "system_fingerprint": "fp_ollama",
    }


def called_tool(tools: object, messages: list[Json]) -> Json | None:
    """The call of the first offered tool that the last message names, with arguments of the types it asks for, or None.

    `tool_choice` counts as little here as in Ollama.
    """
    text = message_text(messages[-1].get("content"))
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function") or {}
        if not function.get("name") or str(function["name"]) not in text:
            continue
        properties = (function.get("parameters") or {}).get("properties") or {}
        number = re.search(r"(?<!\w)\d+(?!\w)", text)
        samples = {"integer": int(number[0]) if number else 1, "boolean": True, "array": [], "object": {}}
        samples["number"] = samples["integer"]
        arguments = {name: samples.get(str(schema.get("type")), "text") for name, schema in properties.items()}
        call = {"name": function["name"], "arguments": json.dumps(arguments)}
        return {"id": f"call_{sha256_hex(text.encode())[:8]}", "index": 0, "type": "function", "function": call}
    return None


def openai_usage(generation: Generation) -> Json:
    """The token counts of /v1."""
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.tokens,
        "total_tokens": generation.prompt_tokens + generation.tokens,
    }


def wants_usage(body: Json) -> bool:
    """Whether a stream has to end with the token counts."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def server_event(data: Json) -> bytes:
    """One event of a /v1 stream."""
    return b"data: " + compact_json(data) + b"\n\n"


def floats_base64(vector: list[float]) -> str:
    """Little-endian 32-bit floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class Client:
    """What the other commands use to ask the server that OLLAMA_HOST names."""

    def __init__(self, host: str) -> None:
        address, port = host_and_port(host)
        # The CLI turns the address that means "all of them" into this machine (envconfig.ConnectableHost).
        self._connection = http.client.HTTPConnection("127.0.0.1" if address == "0.0.0.0" else address, port)

    def ask(self, method: str, path: str, body: Json | None = None) -> http.client.HTTPResponse:
        """Send a request; raise `ApiError` when the server is down or answers with an error."""
        self._connection.timeout = 10 if body is None else None
        try:
            self._connection.request(method, path, None if body is None else compact_json(body))
            response = self._connection.getresponse()
        except ConnectionRefusedError as error:
            raise ApiError(0, "could not connect to ollama server, run 'ollama serve' to start it") from error
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(
                0, f"something went wrong, please see the ollama server logs for details: {error}"
            ) from error
        if response.status != 200:
            raise ApiError(response.status, str(json.loads(response.read()).get("error")))
        return response


def human_size(size: int) -> str:
    """A size as `ollama list` shows it."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            value = size / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{size} B"


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    """Print columns four spaces apart."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, *rows]:
        print("    ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def command_ps(client: Client) -> None:
    """Print the loaded models."""
    models = json.loads(client.ask("GET", "/api/ps").read())["models"]
    rows = [
        [m["name"], m["digest"][:12], human_size(m["size"]), "100% CPU", str(m["context_length"]), m["expires_at"]]
        for m in models
    ]
    print_table(["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"], rows)


def command_list(client: Client) -> None:
    """Print the held models."""
    models = json.loads(client.ask("GET", "/api/tags").read())["models"]
    rows = [[m["name"], m["digest"][:12], human_size(m["size"]), m["modified_at"]] for m in models]
    print_table(["NAME", "ID", "SIZE", "MODIFIED"], rows)


def command_pull(client: Client, name: str) -> None:
    """Pull a model, printing each new status; raise `ApiError` when the stream ends with an error."""
    status = ""
    for line in client.ask("POST", "/api/pull", {"model": name}):
        progress = json.loads(line)
        if "error" in progress:
            raise ApiError(500, str(progress["error"]))
        if progress["status"] != status:
            status = progress["status"]
            print(status, flush=True)
    if status != "success":
        raise ApiError(500, "unexpected EOF")


def command_version(client: Client) -> None:
    """Print the version; succeeds without a server, as the real command does."""
    try:
        version = json.loads(client.ask("GET", "/api/version").read())["version"]
    except ApiError:
        print("Warning: could not connect to a running Ollama instance")
        print(f"Warning: client version is {VERSION}")
        return
    print(f"ollama version is {version}")


def log(message: str) -> None:
    """Write a line of the server's log, in the form of Go's slog."""
    line = f"time={timestamp(time.time())} level=INFO source=routes.go msg={json.dumps(message)}"
    print(line, file=sys.stderr, flush=True)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raise `ApiError` when a folder or the port cannot be had."""
    try:
        (settings.home / ".ollama").mkdir(parents=True, exist_ok=True)
        server = OllamaServer(host_and_port(settings.host), settings)
    except PermissionError as error:
        raise ApiError(0, f"could not create directory {error.filename}: permission denied") from error
    except OSError as error:
        raise ApiError(0, f"listen tcp {settings.host}: {error}") from error

    def stop(_signal: int, _frame: object) -> None:
        threading.Thread(target=server.stop).start()

    # As process 1 of a container it would otherwise not react to SIGTERM at all.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log("this is the Ollama stand-in of the tests: no model runs here")
    log(f"Ollama cloud disabled: {str(settings.cloud_disabled).lower()}")
    log(f"Listening on {settings.host} (version {VERSION})")
    library = gpu_library(settings)
    print(
        f'time={timestamp(time.time())} level=INFO source=types.go:42 msg="inference compute" id=0 filter_id=""'
        f' library={library} compute="" name={library} description="of the stand-in" libdirs=ollama driver=""'
        f' pci_id="" type="" total="8.0 GiB" available="8.0 GiB"',
        file=sys.stderr,
        flush=True,
    )
    log(f"vram-based default context total_vram=0 B default_num_ctx={settings.context_length}")
    server.serve_forever(poll_interval=0.1)
    server.server_close()


def usage() -> NoReturn:
    """Say what there is, and leave with code 1."""
    print("Usage: ollama serve | ps | list | pull NAME | --version", file=sys.stderr)
    sys.exit(1)


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run one command; return the exit code."""
    try:
        settings = Settings.from_environment(environment)
        if arguments == ["serve"]:
            serve(settings)
            return 0
        client = Client(settings.host)
        if arguments == ["ps"]:
            command_ps(client)
        elif arguments in (["list"], ["ls"]):
            command_list(client)
        elif arguments in (["--version"], ["-v"]):
            command_version(client)
        elif len(arguments) == 2 and arguments[0] == "pull":
            command_pull(client, arguments[1])
        else:
            usage()
    except ApiError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
