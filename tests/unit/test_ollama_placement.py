"""Where a model really runs: what the server says of its memory and what its log says must agree."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.box.docker import Answer
from plugins.module_utils.ollama.api import Client, Loaded
from plugins.module_utils.ollama.placement import LogSigns, judge, read_log
from plugins.modules import ollama_placement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOUBLE = Path(__file__).parents[1] / "doubles/ollama.py"
GIB = 1024**3
# From the code of Ollama 0.33 (discover/types.go) and llama.cpp.
FOUND = (
    'time=2026-11-01T10:00:00.000Z level=INFO source=types.go:42 msg="inference compute" id=GPU-1 filter_id="" '
    'library=CUDA compute=8.6 name=CUDA0 description="NVIDIA GeForce RTX 3060" libdirs=ollama,cuda_v13 driver=13.0 '
    'pci_id=0000:01:00.0 type=discrete total="12.0 GiB" available="11.6 GiB"\n'
)
ON_CPU = FOUND.replace("library=CUDA", "library=cpu")
OFFLOADED = "load_tensors: offloaded 29/29 layers to GPU\n"
TOO_OLD = 'level=WARN source=runner.go:485 msg="NVIDIA driver too old" driver=535.1\n'


def loaded(gpu_bytes: int) -> Loaded:
    return Loaded("a:1b", "0" * 64, False, 2 * GIB, gpu_bytes)


def test_the_log_tells_what_was_found_and_loaded_and_what_went_wrong() -> None:
    signs = read_log(TOO_OLD + FOUND + "offloaded 3/29 layers to GPU\n" + OFFLOADED)
    assert signs == LogSigns(("CUDA",), (29, 29), (TOO_OLD.strip(),))
    assert read_log("") == LogSigns((), None, ())


@pytest.mark.parametrize(
    ("mode", "log", "entry", "line"),
    [
        ("nvidia", FOUND + OFFLOADED, loaded(2 * GIB), "a:1b runs on CUDA: 100% of its memory, 29 of 29 layers"),
        ("nvidia", OFFLOADED, loaded(2 * GIB), "a:1b runs on CUDA: 100% of its memory, 29 of 29 layers"),
        (
            "nvidia",
            FOUND + "offloaded 14/29 layers to GPU",
            loaded(GIB),
            (
                "a:1b runs on CUDA: 50% of its memory, 14 of 29 layers, the rest on the CPU: it is larger than the "
                "GPU's free memory"
            ),
        ),
        ("nvidia", FOUND, None, "Ollama found CUDA; no model is loaded"),
        # Each look of the health check is a line of the log, and Docker keeps three files of 10 MB.
        (
            "nvidia",
            "",
            loaded(2 * GIB),
            "a:1b runs on CUDA: 100% of its memory; Ollama's log no longer tells of its start",
        ),
        ("cpu", ON_CPU, loaded(0), "a:1b runs on the CPU"),
        ("cpu", ON_CPU, None, "Ollama found cpu; no model is loaded"),
    ],
)
def test_a_model_that_runs_where_it_should_is_told_in_a_line(
    mode: str, log: str, entry: Loaded | None, line: str
) -> None:
    found = judge(mode, read_log(log), [entry] if entry else [])
    assert (found["line"], found["problem"]) == (line, "")


@pytest.mark.parametrize(
    ("log", "entry", "problem"),
    [
        (ON_CPU + TOO_OLD, loaded(0), "Ollama did not find the GPU by CUDA, only cpu. Its log says: "),
        (FOUND, loaded(0), "a:1b runs on the CPU, though the GPU was found at the start."),
        (
            FOUND + "offloaded 0/29 layers to GPU",
            loaded(2 * GIB),
            "Ollama says that a:1b lies on the GPU, but by its log no layer does.",
        ),
        ("", None, "Nothing in Ollama's log tells of the GPU, and no model is there to try it with."),
    ],
)
def test_signals_that_disagree_are_a_problem(log: str, entry: Loaded | None, problem: str) -> None:
    assert judge("nvidia", read_log(log), [entry] if entry else [])["problem"].startswith(problem)


def test_of_several_models_the_one_with_the_least_on_the_gpu_counts() -> None:
    other = Loaded("b:1b", "1" * 64, True, 2 * GIB, 2 * GIB)
    found = judge("nvidia", read_log(FOUND + "offloaded 0/13 layers to GPU"), [other, loaded(0)])
    assert found["problem"].startswith("a:1b runs on the CPU")
    both = judge("nvidia", read_log(FOUND + "offloaded 0/13 layers to GPU"), [other, loaded(2 * GIB)])
    assert (both["line"], both["problem"]) == ("a:1b runs on CUDA: 100% of its memory", "")


def test_a_model_that_is_just_being_loaded_tells_nothing() -> None:
    found = judge("nvidia", read_log(FOUND), [Loaded("a:1b", "0" * 64, False, 0, 0)])
    assert (found["line"], found["problem"]) == ("Ollama found CUDA; no model is loaded", "")


class Server:
    """The stand-in on a machine with device nodes that a test makes."""

    def __init__(self, folder: Path, libraries: str = "CUDA,Vulkan") -> None:
        self.devices = folder / "dev"
        self.devices.mkdir()
        (self.devices / "nvidiactl").touch()
        self.log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "HOME": str(folder),
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_DOUBLE_DEVICES": str(self.devices),
            "OLLAMA_DOUBLE_LIBRARIES": libraries,
            "OLLAMA_DOUBLE_PULL_SECONDS": "0.01",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, str(DOUBLE), "serve"], env=environment, stderr=log)
        Client(self.url).wait(20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.process.terminate()
    running.process.wait(10)


def run(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **options: Any
) -> dict[str, Any]:
    """Run the module against the stand-in; Docker gives its log."""

    def docker(command: Sequence[str]) -> Answer:
        return Answer(0, "2026-11-01T10:00:00Z\n" if "inspect" in command else server.log.read_text(), "")

    monkeypatch.setattr(ollama_placement, "command_runner", lambda _timeout_s: docker)
    arguments = {"url": server.url, "container": "llm-gateway-ollama", "mode": "nvidia", **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        ollama_placement.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_model_is_loaded_and_found_on_the_gpu_and_a_lost_gpu_is_noticed(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(server.url)
    models = ["smollm2:135m", "nomic-embed-text"]
    for name in models:
        client.pull(name)
    only_seen = run(server, monkeypatch, capsys, models=models, _ansible_check_mode=True)
    assert (only_seen["placement"]["line"], client.loaded()) == ("Ollama found CUDA; no model is loaded", [])
    found = run(server, monkeypatch, capsys, models=models, required=True)
    assert not found["changed"]
    assert found["placement"]["line"] == "smollm2:135m runs on CUDA: 100% of its memory, 29 of 29 layers"
    client.unload("smollm2:135m")
    (server.devices / "nvidiactl").unlink()
    lost = run(server, monkeypatch, capsys, models=models)
    assert lost["placement"]["problem"].startswith(
        "smollm2:135m runs on the CPU, though the GPU was found at the start"
    )
    failed = run(server, monkeypatch, capsys, models=models, required=True)
    assert failed["failed"]
    assert failed["msg"] == lost["placement"]["problem"]


def test_a_model_for_embeddings_serves_as_well(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Client(server.url).pull("nomic-embed-text")
    found = run(server, monkeypatch, capsys, models=["nomic-embed-text"], required=True)
    assert found["placement"]["line"].startswith("nomic-embed-text:latest runs on CUDA: 100% of its memory")


def test_a_model_that_does_not_load_is_told_and_fails_where_a_gpu_is_required(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(server, monkeypatch, capsys, models=["not:pulled"])
    assert result["placement"]["problem"].startswith("Where models run was not tried: not:pulled does not load. ")
    assert run(server, monkeypatch, capsys, models=["not:pulled"], required=True)["failed"]


def test_a_container_that_docker_does_not_know_fails_with_its_words() -> None:
    with pytest.raises(ValueError, match="Docker does not tell about the container a: no such"):
        ollama_placement.log_since_start(lambda _command: Answer(1, "", "no such"), "a")
