"""The ready lists of models: each is right, and fits what its name promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils.box.fit import memory_lines
from plugins.module_utils.box.presets import (
    CONTEXT,
    EMBEDDING,
    FOLDER,
    PRESETS,
    SMALLEST_CHAT,
    Preset,
    Sized,
    model_bytes,
    preset_bytes,
)
from plugins.module_utils.ollama.memory import needed_bytes, read_shape
from tests.unit.box_samples import GIB, box, model, models
from tests.unit.test_filters import ROOT, problems

SHARES = {True: 0.9, False: 0.7}
NAMED = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
# Layers, heads, heads of keys, width and longest context, as each model's published configuration has them.
CONFIGURATIONS = {
    "qwen3.5:0.8b": (24, 8, 2, 1024, 262144),
    "qwen3:4b-instruct": (36, 32, 8, 2560, 262144),
    "qwen3.5:4b": (32, 16, 4, 2560, 262144),
    "qwen3.5:9b": (32, 16, 4, 4096, 262144),
    "gpt-oss:20b": (24, 64, 8, 2880, 131072),
    "nomic-embed-text": (12, 12, 12, 768, 2048),
    "qwen3-embedding:0.6b": (28, 16, 8, 1024, 32768),
}
SIZED = {sized.name: sized for sized in (SMALLEST_CHAT, *(sized for preset in PRESETS for sized in preset.models))}


def declared(preset: Preset) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / preset.path).read_text(encoding="utf-8"))
    return content


def room(preset: Preset) -> float:
    return preset.gib * GIB * SHARES[preset.for_gpu]


def test_there_is_a_file_for_each_and_no_other() -> None:
    assert {path.stem for path in (ROOT / FOLDER).iterdir()} == {preset.name for preset in PRESETS}


@NAMED
def test_the_catalog_finds_no_mistake(preset: Preset) -> None:
    lists = declared(preset)
    assert problems(models=lists["llm_models"], default_fallbacks=lists["llm_default_fallbacks"]) == []


@NAMED
def test_its_file_declares_what_is_reckoned_with(preset: Preset) -> None:
    found = [
        (backend["model"], entry.get("mode", "chat"), backend["provider"])
        for entry in declared(preset)["llm_models"]
        for backend in entry["backends"]
    ]
    assert found == [(sized.name, sized.mode, "ollama") for sized in preset.models]
    assert [entry.get("context") for entry in declared(preset)["llm_models"]] == [None, None]


def test_names_are_those_of_the_project_and_so_is_what_else_is_declared() -> None:
    own = yaml.safe_load((ROOT / "group_vars/all/models.yml").read_text(encoding="utf-8"))
    names = [entry["name"] for entry in own["llm_models"]]
    for preset in PRESETS:
        assert [entry["name"] for entry in declared(preset)["llm_models"]] == names
        assert declared(preset).keys() == own.keys()


@NAMED
def test_all_its_models_fit_together_into_what_its_name_promises(preset: Preset) -> None:
    assert preset.name == f"{'vram' if preset.for_gpu else 'cpu'}-{preset.gib}gb"
    assert preset_bytes(preset) <= room(preset)
    # A run says the first of these before a model is pulled, and the second afterwards.
    for shapes in ([None, None], [sized.shape for sized in preset.models]):
        needs = [
            needed_bytes(sized.bytes, CONTEXT, 1, shape) for sized, shape in zip(preset.models, shapes, strict=True)
        ]
        assert sum(needs) <= preset_bytes(preset)


@NAMED
def test_its_header_says_the_figures(preset: Preset) -> None:
    text = " ".join((ROOT / preset.path).read_text(encoding="utf-8").replace("\n#", " ").split())
    percent, download = f"{SHARES[preset.for_gpu]:.0%}".replace("%", " %"), sum(sized.bytes for sized in preset.models)
    taken, left = preset_bytes(preset) / GIB, (room(preset) - preset_bytes(preset)) / GIB
    assert f"Download {download / 1e9:.1f} GB. Memory {taken:.1f} GiB with both loaded, at {CONTEXT} tokens, of" in text
    assert f"of the {room(preset) / GIB:.1f} GiB ({percent} of {preset.gib}) that models may take;" in text
    assert f"{left:.1f} GiB are left" in text
    assert "each run reads the real ones from the registry" in text


@NAMED
def test_the_page_has_a_row_with_its_figures(preset: Preset) -> None:
    (row,) = (
        line
        for line in (ROOT / "docs/models.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| [{preset.name}](examples/models/{preset.name}.yml) |")
    )
    chat, embedding = preset.models
    download = sum(sized.bytes for sized in preset.models) / 1e9
    assert row.endswith(
        f" | `{chat.name}` | `{embedding.name}` | {download:.1f} GB | {preset_bytes(preset) / GIB:.1f} GiB "
        f"| {room(preset) / GIB:.1f} GiB |"
    )


@pytest.mark.parametrize(("name", "context"), [("vram-16gb", 32768), ("vram-24gb", 16384)])
def test_the_longer_context_that_a_header_offers_fits(name: str, context: int) -> None:
    (preset,) = (preset for preset in PRESETS if preset.name == name)
    assert f"enough for context: {context} at model local" in (ROOT / preset.path).read_text(encoding="utf-8")
    chat, embedding = preset.models
    need = max(needed_bytes(chat.bytes, context, 1, shape) for shape in (None, chat.shape))
    assert need + model_bytes(embedding) <= room(preset)


def test_12_gb_are_enough_for_the_one_for_16_gb() -> None:
    (preset,) = (preset for preset in PRESETS if preset.name == "vram-16gb")
    # What nvidia-smi says of an RTX 4070.
    assert preset_bytes(preset) <= 12282 * 1024**2 * 0.9


@pytest.mark.parametrize("sized", SIZED.values(), ids=SIZED)
def test_shapes_follow_from_the_published_configurations(sized: Sized) -> None:
    layers, heads, key_heads, width, limit = CONFIGURATIONS[sized.name]
    info = {
        "general.architecture": "x",
        "x.block_count": layers,
        "x.attention.head_count": heads,
        "x.attention.head_count_kv": key_heads,
        "x.embedding_length": width,
        "x.context_length": limit,
    }
    assert read_shape(info, has_projector=sized.shape.has_projector) == sized.shape


def test_each_has_one_model_to_chat_with_and_one_for_embeddings() -> None:
    assert {tuple(sized.mode for sized in preset.models) for preset in PRESETS} == {("chat", EMBEDDING)}


def test_a_conversation_has_the_context_that_the_role_gives_it() -> None:
    defaults = yaml.safe_load((ROOT / "roles/ollama/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults["ollama_context_length"] == CONTEXT


def test_a_run_says_that_the_preset_for_the_processor_fits() -> None:
    preset = PRESETS[0]
    facts = box(
        memory_bytes=8 * GIB,
        models=models([model(sized.name, sized.bytes) for sized in preset.models], 99 * GIB),
    )
    served = [{"name": sized.name, "from": sized.name, "context": None, "resident": False} for sized in preset.models]
    serving: Any = {
        "models": served,
        "context": CONTEXT,
        "parallel": 1,
        "memory_limit": "32g",
        "cache_type": "f16",
        "gpu_devices": [],
        "allow_overcommit": False,
    }
    *lines, disk = memory_lines(facts, serving)
    assert [line.endswith(": fits") for line in lines] == [True] * len(served)
    assert disk.startswith("disk: ")


def test_sizes_are_those_of_the_library_of_the_stand_in() -> None:
    text = (Path(ROOT) / "tests/doubles/ollama.py").read_text(encoding="utf-8")
    for name, sized in SIZED.items():
        assert f'"{name if ":" in name else f"{name}:latest"}": LibraryModel({sized.bytes:_}' in text
