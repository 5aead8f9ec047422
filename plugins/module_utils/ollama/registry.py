"""Sizes of models as Ollama's registry tells them, without pulling anything."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import urllib.error
from typing import Any

from ansible.module_utils.urls import ConnectionError as UrlsConnectionError
from ansible.module_utils.urls import open_url

from . import names

DEFAULT_URL = "https://registry.ollama.ai"
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
# Manifests are about a kilobyte; the bound keeps a wrong address from filling the memory.
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024


class RegistryError(Exception):
    """The registry did not tell the sizes of a model."""


class UnknownModel(RegistryError):
    """The registry does not know the model."""


class NotInRegistry(RegistryError):
    """The name points to another host, so this registry cannot tell."""


class RegistryUnreachable(RegistryError):
    """The registry gave no answer, or none that can be used."""


def model_layers(name: str, registry_url: str = DEFAULT_URL, timeout_s: float = 10.0) -> dict[str, int]:
    """Bytes of each file that a pull of the model stores, by digest (``sha256:<hex>``): its layers and its config.

    ``timeout_s`` is the longest silence of the registry, in seconds. The environment's proxy is used. The manifest's
    format is that of Ollama's ``manifest/manifest.go``.
    Raises InvalidName (names.py), NotInRegistry, UnknownModel or RegistryUnreachable.
    """
    body = _manifest(name, registry_url.rstrip("/"), timeout_s)
    try:
        manifest = json.loads(body)
        parts = [*manifest["layers"], manifest["config"]]
        return {_digest(part): _size(part) for part in parts}
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryUnreachable(
            f"{registry_url} answered for {name} with something that is not a manifest."
        ) from error


def newest_digest(name: str, registry_url: str = DEFAULT_URL, timeout_s: float = 10.0) -> str:
    """The digest, in hex, that a server holds the model by after a pull now: the sha256 of the manifest's bytes.

    So it is since Ollama 0.19 (ollama/ollama#15104). ``timeout_s`` is the longest silence of the registry, in seconds.
    Raises InvalidName (names.py), NotInRegistry, UnknownModel or RegistryUnreachable.
    """
    return hashlib.sha256(_manifest(name, registry_url.rstrip("/"), timeout_s)).hexdigest()


def _manifest(text: str, registry_url: str, timeout_s: float) -> bytes:
    """The bytes of a model's manifest as the registry sends them."""
    name = names.parse(text)
    if not name.on_default_host:
        raise NotInRegistry(f"{text} comes from {name.host}, not from Ollama's registry, which cannot tell about it.")
    url = f"{registry_url}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
    try:
        with contextlib.closing(
            open_url(url, headers={"Accept": _MANIFEST_TYPE}, use_netrc=False, timeout=timeout_s)
        ) as response:
            body: bytes = response.read(_MAX_MANIFEST_BYTES)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise UnknownModel(
                f"{registry_url} has no model {name.short}. Check its name and tag at https://ollama.com/library."
            ) from error
        raise RegistryUnreachable(f"{registry_url} answered HTTP {error.code} for {name.short}.") from error
    except (OSError, http.client.HTTPException, UrlsConnectionError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise RegistryUnreachable(f"{registry_url} gave no answer for {name.short}: {reason}.") from error
    return body


def _digest(part: Any) -> str:
    """The part's digest; raises ValueError when it is not one."""
    digest = part["digest"]
    if not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise ValueError("not a digest")
    return digest


def _size(part: Any) -> int:
    """The part's size in bytes; raises ValueError when it is not one."""
    size = part["size"]
    if type(size) is not int or size < 0:
        raise ValueError("not a size")
    return size
