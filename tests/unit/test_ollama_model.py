"""The module run for real, its own main() with Ansible's arguments, against a small server on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from plugins.modules import ollama_model
from tests.unit.ollama_by_ansible import by_ansible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    RunModule = Callable[..., dict[str, Any]]

SIZES = {"qwen3.5:2b": 2_700_000_000, "nomic-embed-text:latest": 274_000_000, "eva/tiny:q4": 1000}
PLAIN_FAILURES = {
    "nope:latest": "pull model manifest: file does not exist",
    "huge:405b": "write /ollama/.ollama/models/blobs/sha256-11-partial: no space left on device",
    "future:1b": "pull model manifest: 412:\n\nThe model requires a newer version of Ollama.",
    "offline:1b": 'Get "https://registry.ollama.ai/v2/": dial tcp: lookup registry.ollama.ai: no such host',
    "odd:1b": "something nobody has seen.",
}


def digest_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Ollama(ThreadingHTTPServer):
    """Holds models by short name, pulls those in SIZES, and fails in the ways of the other names."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.held: dict[str, int] = {}
        self.changes: list[tuple[str, str]] = []
        self.hold = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Ollama

    def do_GET(self) -> None:
        if self.path == "/api/version":
            self.send_json(200, {"version": "0.34.2"})
        elif self.path == "/api/ps":
            self.send_json(200, {"models": []})
        elif self.path.startswith("/v2/"):
            self.send_manifest(*self.path.split("/")[2:])
        else:
            held = self.server.held
            models = [{"name": name, "digest": digest_of(name), "size": size} for name, size in held.items()]
            self.send_json(200, {"models": models})

    def do_POST(self) -> None:
        name = self.model("pull")
        self.send_response(200)
        self.end_headers()
        self.send_line({"status": "pulling manifest"})
        if name in PLAIN_FAILURES:
            self.send_line({"error": PLAIN_FAILURES[name]})
        elif name == "silent:1b":
            self.server.hold.wait(5)
        elif name == "unlisted:1b":
            self.send_line({"status": "success"})
        elif name in SIZES:
            size = SIZES[name]
            for completed in (size // 2, size):
                line = {"status": "pulling 11", "digest": "sha256:11", "total": size, "completed": completed}
                self.send_line(line)
            self.server.held[name] = size
            self.send_line({"status": "success"})

    def send_manifest(self, namespace: str, model: str, _manifests: str, tag: str) -> None:
        """As the registry does; what is pulled is also held there, and some things that do not fit anywhere."""
        name = f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"
        size = {**SIZES, "huge:405b": 10**18}.get(name)
        if size is None:
            self.send_json(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        else:
            layer = {"digest": f"sha256:{digest_of(name)}", "size": size - 100}
            self.send_json(200, {"layers": [layer], "config": {"digest": "sha256:c", "size": 100}})

    def do_DELETE(self) -> None:
        name = self.model("delete")
        if name.startswith("stuck"):
            self.send_json(500, {"error": "permission denied"})
        else:
            del self.server.held[name]
            self.send_response(200)
            self.end_headers()

    def model(self, change: str) -> str:
        name: str = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["model"]
        self.server.changes.append((change, name))
        return name

    def send_json(self, status: int, value: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def send_line(self, value: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(value).encode() + b"\n")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(name="ollama")
def running_ollama() -> Iterator[Ollama]:
    server = Ollama()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with server:
        yield server
        server.hold.set()
        server.shutdown()
    thread.join()


@pytest.fixture(name="run")
def module_runner(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """Run the module and return what it prints for Ansible; nothing but warnings may be printed besides."""

    def run(*names: str, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"names": list(names), "_ansible_check_mode": check, "wait": 0, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ollama_model.main()
        printed = capsys.readouterr()
        results: dict[str, Any] = json.loads(printed.out)
        if printed.err:
            assert printed.err.startswith("[WARNING]: ")
            results["warnings"] = printed.err
        return results

    return run


@pytest.fixture(name="dead_url")
def address_without_server() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_missing_models_are_pulled_in_the_order_given(ollama: Ollama, run: RunModule) -> None:
    results = run("qwen3.5:2b", "nomic-embed-text", url=ollama.url)
    assert ollama.changes == [("pull", "qwen3.5:2b"), ("pull", "nomic-embed-text:latest")]
    assert results["changed"] is True
    assert results["missing"] == ["qwen3.5:2b", "nomic-embed-text:latest"]
    assert [(entry["name"], entry["bytes"], entry["digest"]) for entry in results["pulled"]] == [
        ("qwen3.5:2b", 2_700_000_000, digest_of("qwen3.5:2b")),
        ("nomic-embed-text:latest", 274_000_000, digest_of("nomic-embed-text:latest")),
    ]
    assert all(0 <= entry["seconds"] < 5 for entry in results["pulled"])
    assert results["models"][0] == {
        "name": "nomic-embed-text:latest",
        "digest": digest_of("nomic-embed-text:latest"),
        "size": 274_000_000,
    }
    assert results["diff"]["before"] == ""
    assert results["diff"]["after"] == "nomic-embed-text:latest\nqwen3.5:2b\n"
    assert results["version"] == "0.34.2"


def test_the_second_run_changes_nothing(ollama: Ollama, run: RunModule) -> None:
    run("qwen3.5:2b", url=ollama.url)
    results = run("qwen3.5:2b", url=ollama.url)
    assert results["changed"] is False
    assert results["missing"] == results["pulled"] == []
    assert results["diff"]["before"] == results["diff"]["after"] == "qwen3.5:2b\n"
    assert len(ollama.changes) == 1


@pytest.mark.parametrize("name", ["QWEN3.5:2B", "library/qwen3.5:2b", "registry.ollama.ai/library/qwen3.5:2b"])
def test_a_held_model_is_known_by_all_its_names(ollama: Ollama, run: RunModule, name: str) -> None:
    ollama.held["qwen3.5:2b"] = 1
    assert run(name, url=ollama.url)["changed"] is False
    assert ollama.changes == []


def test_a_model_declared_twice_is_pulled_once(ollama: Ollama, run: RunModule) -> None:
    results = run("nomic-embed-text", "nomic-embed-text:latest", "library/Nomic-Embed-Text", url=ollama.url)
    assert ollama.changes == [("pull", "nomic-embed-text:latest")]
    assert results["missing"] == ["nomic-embed-text:latest"]


def test_a_held_model_with_a_name_of_a_newer_form_is_left_alone(ollama: Ollama, run: RunModule) -> None:
    ollama.held["eva/skill/a/b:latest"] = 7
    results = run("eva/tiny:q4", url=ollama.url)
    assert [model["name"] for model in results["models"]] == ["eva/skill/a/b:latest", "eva/tiny:q4"]


def test_check_mode_tells_what_would_be_pulled(ollama: Ollama, run: RunModule) -> None:
    ollama.held["qwen3.5:2b"] = 1
    results = run("qwen3.5:2b", "eva/tiny:q4", url=ollama.url, check=True)
    assert results["changed"] is True
    assert results["missing"] == ["eva/tiny:q4"]
    assert results["pulled"] == ollama.changes == []
    assert results["diff"]["before"] == "qwen3.5:2b\n"
    assert results["diff"]["after"] == "eva/tiny:q4\nqwen3.5:2b\n"


def test_check_mode_reports_no_change_where_there_is_none(ollama: Ollama, run: RunModule) -> None:
    ollama.held["qwen3.5:2b"] = 1
    assert run("qwen3.5:2b", url=ollama.url, check=True)["changed"] is False


def test_check_mode_counts_every_model_as_missing_when_no_server_answers(run: RunModule, dead_url: str) -> None:
    results = run("qwen3.5:2b", "eva/tiny:q4", url=dead_url, check=True, wait=600)
    assert results["changed"] is True
    assert results["missing"] == ["qwen3.5:2b", "eva/tiny:q4"]
    assert results["version"] == ""


def test_check_mode_removes_nothing_when_no_server_answers(run: RunModule, dead_url: str) -> None:
    results = run("qwen3.5:2b", url=dead_url, check=True, state="absent")
    assert results["changed"] is False
    assert results["removed"] == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "nope",
            "Check the name in llm_models (group_vars/all/models.yml); the list is at https://ollama.com/library.",
        ),
        ("huge:405b", "free some space"),
        ("future:1b", "Raise the tag of the Ollama image in group_vars/all/images.yml"),
        ("offline:1b", "check the DNS, firewall and proxy"),
        ("odd:1b", "The log of the Ollama container says more."),
    ],
)
def test_a_failed_pull_tells_model_message_hint_and_what_was_done(
    ollama: Ollama, run: RunModule, name: str, hint: str
) -> None:
    results = run("eva/tiny:q4", name, "qwen3.5:2b", url=ollama.url)
    short = name if ":" in name else f"{name}:latest"
    assert results["failed"] is True
    assert results["changed"] is True
    assert results["ollama_message"] == PLAIN_FAILURES[short]
    assert results["msg"].startswith(f"Ollama 0.34.2 could not pull {short}: ")
    assert " ".join(PLAIN_FAILURES[short].split()).rstrip(".") in results["msg"]
    assert hint in results["msg"]
    assert results["msg"].endswith("Done before it: eva/tiny:q4.")
    assert [entry["name"] for entry in results["pulled"]] == ["eva/tiny:q4"]
    assert ("pull", "qwen3.5:2b") not in ollama.changes


def test_a_run_after_a_failed_one_pulls_only_the_rest(ollama: Ollama, run: RunModule) -> None:
    run("eva/tiny:q4", "nope", url=ollama.url)
    results = run("eva/tiny:q4", "qwen3.5:2b", url=ollama.url)
    assert [entry["name"] for entry in results["pulled"]] == ["qwen3.5:2b"]


def test_a_connection_that_ends_early_is_a_failure(ollama: Ollama, run: RunModule) -> None:
    results = run("cut:1b", url=ollama.url)
    assert "the pull ended without success, its last status was 'pulling manifest'" in results["msg"]
    assert results["msg"].endswith("Done before it: nothing.")
    assert results["changed"] is False
    assert "ollama_message" not in results


def test_a_pull_that_falls_silent_is_given_up(ollama: Ollama, run: RunModule) -> None:
    results = run("silent:1b", url=ollama.url, timeout=0.1)
    assert "it sent nothing for 0.1 seconds" in results["msg"]
    assert "a pull continues where it stopped" in results["msg"]


def test_success_without_the_model_in_the_list_is_a_failure(ollama: Ollama, run: RunModule) -> None:
    results = run("unlisted:1b", url=ollama.url)
    assert results["failed"] is True
    assert "pulled unlisted:1b, but does not list it" in results["msg"]


def test_no_server_is_told_with_its_address_and_what_to_check(run: RunModule, dead_url: str) -> None:
    results = run("qwen3.5:2b", url=dead_url, wait=0.1)
    assert results["failed"] is True
    assert results["msg"] == (
        f"No Ollama server answers at {dead_url} after 0.1 seconds: Connection refused. "
        "Check that its container runs (docker ps) and that url is its address on this host."
    )


def test_another_service_on_the_address_is_told_also_in_check_mode(run: RunModule) -> None:
    class WebPage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), WebPage) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        results = run("qwen3.5:2b", url=f"http://127.0.0.1:{server.server_port}", check=True)
        server.shutdown()
    assert results["failed"] is True
    assert "is not a working Ollama server: HTTP status 404" in results["msg"]


def test_all_invalid_names_are_told_before_anything_is_pulled(ollama: Ollama, run: RunModule) -> None:
    results = run("qwen3.5:2b", "qwen 3", "eva/", url=ollama.url)
    assert results["failed"] is True
    assert "'qwen 3'" in results["msg"]
    assert "'eva/'" in results["msg"]
    assert ollama.changes == []


def test_a_bad_address_is_told(run: RunModule) -> None:
    assert "Write it like http://127.0.0.1:11434" in run("qwen3.5:2b", url="127.0.0.1:11434")["msg"]


def test_absent_removes_what_is_held_and_only_once(ollama: Ollama, run: RunModule) -> None:
    ollama.held.update({"qwen3.5:2b": 1, "eva/tiny:q4": 2})
    results = run("Qwen3.5:2B", "mistral", url=ollama.url, state="absent")
    assert ollama.changes == [("delete", "qwen3.5:2b")]
    assert results["changed"] is True
    assert results["removed"] == ["Qwen3.5:2B"]
    assert results["diff"]["after"] == "eva/tiny:q4\n"
    assert run("qwen3.5:2b", url=ollama.url, state="absent")["changed"] is False


def test_absent_in_check_mode_removes_nothing(ollama: Ollama, run: RunModule) -> None:
    ollama.held.update({"qwen3.5:2b": 1, "eva/tiny:q4": 2})
    results = run("qwen3.5:2b", url=ollama.url, state="absent", check=True)
    assert results["changed"] is True
    assert results["removed"] == ["qwen3.5:2b"]
    assert results["diff"]["after"] == "eva/tiny:q4\n"
    assert ollama.changes == []


def test_a_failed_removal_tells_ollamas_message(ollama: Ollama, run: RunModule) -> None:
    ollama.held.update({"eva/tiny:q4": 2, "stuck:1b": 1})
    results = run("eva/tiny:q4", "stuck:1b", url=ollama.url, state="absent")
    assert results["failed"] is True
    assert "could not remove stuck:1b: permission denied." in results["msg"]
    assert results["msg"].endswith("Done before it: eva/tiny:q4.")
    assert results["removed"] == ["eva/tiny:q4"]


def as_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return documented options in the words of an argument specification."""
    arguments = {}
    for name, option in options.items():
        arguments[name] = {key: value for key, value in option.items() if key not in {"description", "suboptions"}}
        if "suboptions" in option:
            arguments[name]["options"] = as_arguments(option["suboptions"])
    return arguments


def in_folder(ollama: Ollama, folder: Path) -> dict[str, str]:
    return {"url": ollama.url, "registry": ollama.url, "models_dir": str(folder)}


@pytest.mark.parametrize("check", [True, False])
def test_what_does_not_fit_is_refused_with_both_figures_before_anything_is_pulled(
    ollama: Ollama, run: RunModule, tmp_path: Path, check: bool
) -> None:
    result = run("eva/tiny:q4", "huge:405b", check=check, **in_folder(ollama, tmp_path))
    assert result["failed"]
    assert re.match(
        r"Nothing was pulled\. Too little disk .*: 931322574\.6 GiB are to be downloaded "
        rf"\(.*huge:405b .*{re.escape(str(tmp_path))} has [0-9.]+ GiB free\. Free [0-9.]+ GiB there",
        result["msg"],
    ), result["msg"]
    assert ollama.changes == []


@pytest.mark.parametrize("check", [True, False])
def test_all_names_that_the_registry_does_not_know_are_refused_before_anything_is_pulled(
    ollama: Ollama, run: RunModule, tmp_path: Path, check: bool
) -> None:
    result = run("eva/tiny:q4", "nope", "nada:1b", check=check, **in_folder(ollama, tmp_path))
    assert result["failed"]
    assert "no model nope:latest" in result["msg"]
    assert "no model nada:1b" in result["msg"]
    assert ollama.changes == []


@pytest.mark.parametrize("check", [True, False])
def test_the_size_of_the_download_is_told_less_what_is_on_the_disk(
    ollama: Ollama, run: RunModule, tmp_path: Path, check: bool
) -> None:
    half = tmp_path / f"blobs/sha256-{digest_of('eva/tiny:q4')}-partial"
    half.parent.mkdir()
    half.write_bytes(b"x" * 400)
    blocks = half.stat().st_blocks * 512
    result = run("nomic-embed-text", "eva/tiny:q4", check=check, **in_folder(ollama, tmp_path))
    assert result["download_bytes"] == 274_000_000 + max(0, 1000 - 100 - blocks)
    assert run("nomic-embed-text", check=True, **in_folder(ollama, tmp_path))["download_bytes"] == (
        274_000_000 if check else 0
    )


def test_a_registry_that_does_not_answer_stops_no_pull(
    ollama: Ollama, run: RunModule, tmp_path: Path, dead_url: str
) -> None:
    options = {**in_folder(ollama, tmp_path), "registry": dead_url}
    result = run("eva/tiny:q4", **options)
    assert (result["changed"], result["download_bytes"]) == (True, 0)
    assert "sizes of eva/tiny:q4 are not known, so the room for them is not checked" in str(result["warnings"])
    # What is there is nobody's to ask about.
    assert "warnings" not in run("eva/tiny:q4", **options)


def test_how_far_a_pull_is_can_be_read_until_it_ends(ollama: Ollama, run: RunModule, tmp_path: Path) -> None:
    file = tmp_path / "progress"
    waiting = threading.Thread(target=run, args=("silent:1b",), kwargs={"url": ollama.url, "progress_file": str(file)})
    waiting.start()
    deadline = time.monotonic() + 5
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    report = json.loads(file.read_text())
    assert (report["doing"], report["model"]) == ("pulling", "silent:1b")
    ollama.hold.set()
    waiting.join()
    assert not file.exists()


def test_the_documentation_describes_the_arguments_as_they_are() -> None:
    options = yaml.safe_load(ollama_model.DOCUMENTATION)["options"]
    assert as_arguments(options) == ollama_model.ARGUMENT_SPEC


def test_everything_returned_is_documented(ollama: Ollama, run: RunModule) -> None:
    documented = yaml.safe_load(ollama_model.RETURN)
    returned = {*run("qwen3.5:2b", url=ollama.url), *run("odd:1b", url=ollama.url)}
    assert returned - {"changed", "diff", "failed", "msg", "invocation"} == set(documented)


def test_ansible_ships_the_module_with_what_it_imports(ollama: Ollama, tmp_path: Path) -> None:
    done = by_ansible(tmp_path, url=ollama.url, names=["eva/tiny:q4"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "localhost | CHANGED =>" in done.stdout
    assert ollama.changes == [("pull", "eva/tiny:q4")]
