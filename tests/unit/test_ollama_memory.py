"""How much memory a model needs, and whether what a box serves fits."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.box import held
from plugins.module_utils.box.docker import Answer
from plugins.module_utils.box.fit import memory_lines, memory_problems
from plugins.module_utils.box.problems import box_problems
from plugins.module_utils.ollama.memory import CACHE_SHARES, Shape, needed_bytes, parse_size, read_shape
from tests.unit.box_samples import GIB, box, model, models
from tests.unit.gpu_hosts import UUID, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

GB = 10**9
# As /api/show tells them of these models.
LLAMA_3B = {
    "general.architecture": "llama",
    "llama.block_count": 28,
    "llama.attention.head_count": 24,
    "llama.attention.head_count_kv": 8,
    "llama.embedding_length": 3072,
    "llama.context_length": 131072,
}
QWEN_8B = {
    "general.architecture": "qwen3",
    "qwen3.block_count": 36,
    "qwen3.attention.head_count": 32,
    "qwen3.attention.head_count_kv": 8,
    "qwen3.embedding_length": 4096,
    "qwen3.context_length": 40960,
}
QWEN_SMALL = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 24,
    "qwen2.attention.head_count": 14,
    "qwen2.attention.head_count_kv": 2,
    "qwen2.embedding_length": 896,
    "qwen2.context_length": 32768,
}


def shape_of(info: dict[str, Any]) -> Shape:
    shape = read_shape(info, has_projector=False)
    assert shape is not None
    return shape


def test_the_bytes_of_a_token_are_those_that_were_measured() -> None:
    # 12167 to 12307 bytes a token were measured of qwen2.5:0.5b.
    assert shape_of(QWEN_SMALL).bytes_per_token == 12288


@pytest.mark.parametrize(("info", "weights"), [(LLAMA_3B, 2.0 * GB), (QWEN_8B, 5.2 * GB)])
def test_the_estimate_is_within_a_seventh_of_the_formula(info: dict[str, Any], weights: float) -> None:
    exact = needed_bytes(int(weights), 8192, 1, shape_of(info))
    estimated = needed_bytes(int(weights), 8192, 1, None)
    assert abs(estimated - exact) < exact / 7


def test_each_conversation_has_a_context_of_its_own_up_to_what_the_model_was_trained_with() -> None:
    shape = shape_of(QWEN_8B)
    one, two = (needed_bytes(GB, 8192, parallel, shape) for parallel in (1, 2))
    assert two - one == 8192 * shape.bytes_per_token
    assert needed_bytes(GB, 40960, 1, shape) == needed_bytes(GB, 131072, 1, shape)


def test_a_model_that_reads_pictures_needs_more() -> None:
    shape = shape_of(LLAMA_3B)
    assert needed_bytes(GB, 8192, 1, shape._replace(has_projector=True)) - needed_bytes(GB, 8192, 1, shape) == GIB


def test_heads_given_for_each_layer_count_by_the_smallest() -> None:
    listed = {**LLAMA_3B, "llama.attention.head_count_kv": [0, 16, 8]}
    assert shape_of(listed) == shape_of(LLAMA_3B)


@pytest.mark.parametrize("missing", [key for key in LLAMA_3B if not key.endswith("_kv")])
def test_without_one_of_the_numbers_nothing_is_known(missing: str) -> None:
    assert read_shape({key: value for key, value in LLAMA_3B.items() if key != missing}, has_projector=False) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("32g", 32 * GIB),
        ("1.5gb", 3 * GIB // 2),
        ("512M", GIB // 2),
        ("64k", 65536),
        ("0", 0),
        ("32 GiB", 32 * GIB),
        ("1t", 1024 * GIB),
    ],
)
def test_sizes_are_read_as_compose_does(text: str, size: int) -> None:
    assert parse_size(text) == size


def serving(*entries: tuple[str, int | None, bool], **changes: Any) -> Any:
    served = [
        {"name": f"{name}-ctx{context}" if context else name, "from": name, "context": context, "resident": resident}
        for name, context, resident in entries
    ]
    plain = {
        "models": served,
        "context": 8192,
        "parallel": 1,
        "memory_limit": "32g",
        "cache_type": "f16",
        "gpu_devices": [],
        "allow_overcommit": False,
    }
    return {**plain, **changes}


def test_each_model_gets_a_line_with_download_memory_and_whether_it_fits() -> None:
    facts = box(
        memory_bytes=16 * GIB,
        models=models([model("a:1b", 2 * GIB), model("b:8b", 8 * GIB, missing=0), model("c:20b", 20 * GIB)], 99 * GIB),
    )
    served = serving(("a:1b", None, False), ("a:1b", 32768, False), ("b:8b", 16384, False), ("c:20b", None, False))
    of, crowded = "of 11.2 GiB at", "tight: the box may have to swap, and no other model fits beside it"
    large = "too large: it will not load, or only crawl. Choose a smaller model or a shorter context"
    assert memory_lines(facts, served) == [
        f"a:1b: download 2.0 GiB, memory about 3.4 {of} 8192 tokens: fits",
        f"a:1b-ctx32768: memory about 4.6 {of} 32768 tokens: fits",
        f"b:8b-ctx16384: memory about 12.2 {of} 16384 tokens: {crowded}",
        f"c:20b: download 20.0 GiB, memory about 25.0 {of} 8192 tokens: {large}",
        "disk: 22.0 GiB to download, 99.0 GiB free at /var/lib/llm-gateway/ollama",
    ]


def test_what_the_container_may_take_bounds_it() -> None:
    facts = box(memory_bytes=64 * GIB, models=models([model("a:1b", 2 * GIB)], 99 * GIB))
    assert "of 3.0 GiB at" in memory_lines(facts, serving(("a:1b", None, False), memory_limit="3g"))[0]
    assert "of 44.8 GiB at" in memory_lines(facts, serving(("a:1b", None, False), memory_limit="0"))[0]


def test_what_ollama_tells_of_a_model_goes_before_the_estimate() -> None:
    facts = box(models=models([model("a:1b", 2 * GIB)], 99 * GIB), shapes={"a:1b": shape_of(QWEN_8B)._asdict()})
    assert "memory about 4.1 of" in memory_lines(facts, serving(("a:1b", None, False)))[0]


def test_where_there_is_a_gpu_its_memory_counts(tmp_path: Path) -> None:
    sizes = {"a:7b": 5 * GIB, "b:12b": 8 * GIB, "c:20b": 13 * GIB, "d:70b": 40 * GIB}
    facts = box(
        memory_bytes=16 * GIB,
        models=models([model(name, size, missing=0) for name, size in sizes.items()], 99 * GIB),
        gpu=look("NVIDIA, ready", tmp_path),
    )
    assert memory_lines(facts, serving(*((name, 4096, False) for name in sizes))) == [
        "models run on the GPU by nvidia: NVIDIA GeForce RTX 3060, 12 GiB",
        "a:7b-ctx4096: the GPU's memory about 6.5 of 10.8 GiB at 4096 tokens: fits",
        "b:12b-ctx4096: the GPU's memory about 9.8 of 10.8 GiB at 4096 tokens: fits",
        (
            "c:20b-ctx4096: the GPU's memory about 15.3 of 10.8 GiB at 4096 tokens: a part of it will spill to the "
            "CPU, which slows it down. Choose a smaller model or a shorter context"
        ),
        (
            "d:70b-ctx4096: the GPU's memory about 45.0 of 10.8 GiB at 4096 tokens: too large: it will not load, or "
            "only crawl. Choose a smaller model or a shorter context"
        ),
    ]
    [problem] = memory_problems(facts, serving(("a:7b", None, True), ("b:12b", None, True)))
    assert "but at most 11.6 GiB of the GPU's memory are there for them" in problem


def test_a_model_that_only_just_fits_the_gpu_is_tight(tmp_path: Path) -> None:
    weights = round(9.2 * GIB)
    facts = box(models=models([model("a:13b", weights)], 99 * GIB), gpu=look("NVIDIA, ready", tmp_path))
    assert "tight: another program on the GPU may push it" in memory_lines(facts, serving(("a:13b", 4096, False)))[1]


@pytest.mark.parametrize("host", ["NVIDIA, without nvidia-smi", "no GPU"])
def test_without_a_figure_of_the_gpu_the_memory_of_the_box_counts(tmp_path: Path, host: str) -> None:
    facts = box(models=models([model("a:1b", 2 * GIB)], 99 * GIB), gpu=look(host, tmp_path))
    assert "memory about 3.4 of 11.2 GiB at" in memory_lines(facts, serving(("a:1b", None, False)))[1]


def test_a_gpu_of_the_processor_takes_no_more_than_the_box_can_spare(tmp_path: Path) -> None:
    facts = box(memory_bytes=8 * GIB, models=models([model("a:1b", GIB)], 99 * GIB))
    facts["gpu"] = look("AMD, part of a processor", tmp_path)
    assert "memory about 2.2 of 5.6 GiB at" in memory_lines(facts, serving(("a:1b", None, False)))[1]


def test_a_smaller_cache_takes_less_memory() -> None:
    shape = shape_of(QWEN_8B)
    plain, half, quarter = (needed_bytes(5 * GIB, 32768, 1, shape, kind) - 6 * GIB for kind in CACHE_SHARES)
    assert (half, quarter) == (plain / 2, plain / 4)
    facts = box(models=models([model("a:1b", 2 * GIB)], 99 * GIB))
    assert "memory about 3.2 of" in memory_lines(facts, serving(("a:1b", None, False), cache_type="q8_0"))[0]


def test_gpus_that_cannot_be_had_are_told_before_what_they_would_hold(tmp_path: Path) -> None:
    facts = box(
        models=models([model("a:20b", 20 * GIB)], 99 * GIB), gpu=look("NVIDIA, driver too old", tmp_path, "required")
    )
    wanted = {"docker_install": True, "allow_unsupported_os": False, "ports": [], "uids": []}
    resident = ("a:20b", None, True)
    [problem] = box_problems(facts, {**wanted, "serving": serving(resident)})
    assert problem.startswith("llm_gpu (group_vars/all/gateway.yml): a GPU is required, and none here can be used")
    assert problem.endswith("Mend that, or set llm_gpu: auto, which settles for the CPU.")
    assert box_problems(facts, {**wanted, "serving": serving()}) == []
    facts["gpu"] = look("no GPU", tmp_path / "other")
    assert box_problems(facts, {**wanted, "serving": serving(resident, gpu_devices=[UUID])}) == [
        "llm_gpu_devices: models run on the CPU (there is no GPU by NVIDIA, AMD or Intel). Set llm_gpu_devices: []."
    ]


def test_a_model_of_unknown_size_is_told_as_such() -> None:
    facts = box(models=models([model("hf.co/a/b", state="elsewhere")], 99 * GIB))
    served = serving(("hf.co/a/b", None, True))
    assert memory_lines(facts, served) == ["hf.co/a/b: its size is not known, nor whether it fits"]
    assert memory_problems(facts, served) == []


def test_residents_that_do_not_fit_together_are_refused_unless_that_is_allowed() -> None:
    facts = box(memory_bytes=16 * GIB, models=models([model("a:8b", 6 * GIB), model("b:8b", 6 * GIB)], 99 * GIB))
    both = (("a:8b", None, True), ("b:8b", None, True))
    wanted = {"docker_install": True, "allow_unsupported_os": False, "ports": [], "uids": []}
    problem = (
        "The models that shall stay in memory need 16.4 GiB together (a:8b 8.2 GiB, b:8b 8.2 GiB), but at most "
        "13.6 GiB of memory are there for them. Take resident: true from one of them, give it a shorter context or a "
        "smaller model (group_vars/all/models.yml), or set llm_allow_overcommit: true (group_vars/all/gateway.yml) to "
        "try it all the same."
    )
    assert box_problems(facts, {**wanted, "serving": serving(*both)}) == [problem]
    assert memory_problems(facts, serving(*both, allow_overcommit=True)) == []
    assert memory_problems(facts, serving(both[0], ("b:8b", None, False))) == []


def test_a_limit_that_is_no_size_is_told_with_its_variable() -> None:
    facts = box(models=models([model("a:1b", GIB)], 99 * GIB))
    served = serving(("a:1b", None, False), memory_limit="lots")
    assert memory_lines(facts, served) == []
    assert memory_problems(facts, served) == [
        "ollama_memory_limit (group_vars/all/gateway.yml): 'lots' is no size. Write it like 32g."
    ]


class Shows(BaseHTTPRequestHandler):
    """An Ollama that holds one model, and one of which it tells little."""

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["model"]
        infos = {"llama3.2:3b": LLAMA_3B, "odd:1b": {}}
        self.send_response(200 if name in infos else 404)
        self.end_headers()
        answer = {"modelfile": "", "model_info": infos.get(name), "capabilities": ["completion", "vision"]}
        self.wfile.write(json.dumps(answer if name in infos else {"error": "not found"}).encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(name="port")
def port_of_an_ollama() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shows)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_ollama_that_runs_is_asked_about_the_models_it_holds(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(held, "_PORT", port)
    asked: list[list[str]] = []

    def run(command: Sequence[str]) -> Answer:
        asked.append(list(command))
        return Answer(0, "127.0.0.1 \n", "")

    found = held.read_shapes(run, "llm-gateway-ollama", ["llama3.2:3b", "odd:1b", "not-there"], 5)
    assert found == {"llama3.2:3b": {"bytes_per_token": 114688, "context_limit": 131072, "has_projector": True}}
    assert [command[-1] for command in asked] == ["llm-gateway-ollama"]


@pytest.mark.parametrize("answer", [Answer(1, "", "No such container"), Answer(127, "", ""), Answer(0, " \n", "")])
def test_without_a_running_ollama_nothing_is_known(answer: Answer) -> None:
    assert held.read_shapes(lambda _command: answer, "llm-gateway-ollama", ["llama3.2:3b"], 1) == {}


def test_a_box_without_models_is_not_looked_at() -> None:
    assert memory_lines(box(), serving()) == []
    assert memory_problems(box(), serving(memory_limit="lots")) == []
