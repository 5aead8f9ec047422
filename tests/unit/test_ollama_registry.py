"""Sizes of models come from the registry's manifest, and every way not to get them has a name."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from plugins.module_utils.ollama import names, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = {"digest": "sha256:c0", "size": 490, "mediaType": "application/vnd.docker.container.image.v1+json"}
WEIGHTS = {"digest": "sha256:11", "size": 274_290_656, "mediaType": "application/vnd.ollama.image.model"}
LICENSE = {"digest": "sha256:22", "size": 11_357, "mediaType": "application/vnd.ollama.image.license"}
MANIFEST = {"schemaVersion": 2, "config": CONFIG, "layers": [WEIGHTS, LICENSE]}


class Registry(BaseHTTPRequestHandler):
    """Answers manifests by path; a number instead of a manifest is an HTTP status."""

    answers: ClassVar[dict[str, Any]] = {
        "/v2/library/nomic-embed-text/manifests/latest": MANIFEST,
        "/v2/eva/Twice/manifests/q4": {"config": CONFIG, "layers": [WEIGHTS, WEIGHTS]},
        "/v2/library/private/manifests/latest": 401,
        "/v2/library/gone/manifests/latest": 404,
        "/v2/library/index/manifests/latest": {"manifests": []},
        "/v2/library/list/manifests/latest": ["layers"],
        "/v2/library/text/manifests/latest": {"config": CONFIG, "layers": [{**WEIGHTS, "size": "274290656"}]},
        "/v2/library/negative/manifests/latest": {"config": CONFIG, "layers": [{**WEIGHTS, "size": -1}]},
        "/v2/library/digestless/manifests/latest": {"config": CONFIG, "layers": [{**WEIGHTS, "digest": "11"}]},
    }
    hold = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/v2/library/slow/manifests/latest":
            self.hold.wait(5)
            return
        answer = self.answers.get(self.path, 404)
        wants_manifest = self.headers["Accept"] == "application/vnd.docker.distribution.manifest.v2+json"
        status = answer if isinstance(answer, int) else 200 if wants_manifest else 406
        self.send_response(status)
        self.end_headers()
        if status == 200:
            self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(name="url", scope="module")
def running_registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with server:
        yield f"http://127.0.0.1:{server.server_port}"
        Registry.hold.set()
        server.shutdown()
    thread.join()


def test_layers_and_config_are_counted(url: str) -> None:
    assert registry.model_layers("nomic-embed-text", url) == {
        "sha256:11": 274_290_656,
        "sha256:22": 11_357,
        "sha256:c0": 490,
    }


def test_a_file_used_twice_is_stored_once(url: str) -> None:
    assert registry.model_layers("eva/Twice:q4", url + "/") == {"sha256:11": 274_290_656, "sha256:c0": 490}


def test_an_unknown_model_says_where_to_look(url: str) -> None:
    with pytest.raises(registry.UnknownModel, match=r"has no model gone:latest.*https://ollama\.com/library"):
        registry.model_layers("gone", url)


@pytest.mark.parametrize("name", ["hf.co/bartowski/Llama:Q4_K_M", "127.0.0.1:5000/test/tiny"])
def test_a_name_on_another_host_is_not_asked_for(name: str) -> None:
    with pytest.raises(registry.NotInRegistry, match="which cannot tell about it"):
        registry.model_layers(name, "http://127.0.0.1:1")


def test_a_refusal_is_no_unknown_model(url: str) -> None:
    with pytest.raises(registry.RegistryUnreachable, match="answered HTTP 401 for private:latest"):
        registry.model_layers("private", url)


@pytest.mark.parametrize("name", ["index", "list", "text", "negative", "digestless"])
def test_what_is_no_manifest_is_refused(url: str, name: str) -> None:
    with pytest.raises(registry.RegistryUnreachable, match="not a manifest"):
        registry.model_layers(name, url)


def test_a_silent_registry_is_given_up(url: str) -> None:
    with pytest.raises(registry.RegistryUnreachable, match="timed out"):
        registry.model_layers("slow", url, timeout_s=0.1)


def test_no_registry_at_all() -> None:
    with pytest.raises(registry.RegistryUnreachable, match="Connection refused"):
        registry.model_layers("qwen3.5", "http://127.0.0.1:1")


def test_an_invalid_name_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(names.InvalidName):
        registry.model_layers("../../admin", "http://127.0.0.1:1")
