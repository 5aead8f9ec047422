"""Which list of models is suggested for a box, at the borders and for each kind of GPU, and what is said of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.box.docker import Answer
from plugins.module_utils.box.presets import PRESETS, Preset, preset_bytes
from plugins.module_utils.box.suggest import choose, suggestion
from plugins.module_utils.gpu.facts import gpu_facts
from plugins.module_utils.gpu.tree import Tree
from plugins.modules.gpu_facts import runner
from tests.unit.gpu_hosts import GIB, HOSTS, Host, nvidia_module, pci, smi, system
from tests.unit.test_filters import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from plugins.module_utils.gpu.shapes import GpuFacts

BY_NAME = {preset.name: preset for preset in PRESETS}
FOR_GPU = [preset for preset in PRESETS if preset.for_gpu]
MIB = 1024**2


def seen(host: Host, folder: Path) -> GpuFacts:
    root = host.write(folder)
    return gpu_facts(Tree(root), runner(root, 1))


def cards(folder: Path, *mebibytes: str) -> GpuFacts:
    """Return what is known of a box with NVIDIA's cards, whose memory nvidia-smi tells like this."""
    host, rows = system() + nvidia_module("580.95.05"), []
    for number, memory in enumerate(mebibytes, 1):
        host += pci(f"0000:0{number}:00.0", "0x10de", "0x2504", "nvidia")
        rows.append(f"GPU-{number}, 00000000:0{number}:00.0, Card {number}, {memory}, 8.6, 580.95.05")
    return seen(host + smi(*rows), folder)


def chosen(gpu: GpuFacts, memory_bytes: int) -> str | None:
    preset = choose(gpu, memory_bytes).preset
    return preset.name if preset else None


def least(preset: Preset, share: float) -> int:
    """Return the least memory of which a share holds all models of a preset."""
    return math.ceil(preset_bytes(preset) / share)


@pytest.mark.parametrize("preset", FOR_GPU, ids=lambda preset: preset.name)
def test_the_memory_of_the_gpu_decides_to_the_mebibyte(preset: Preset, tmp_path: Path) -> None:
    enough = math.ceil(least(preset, 0.9) / MIB)
    below = FOR_GPU[FOR_GPU.index(preset) - 1].name if preset != FOR_GPU[0] else "cpu-8gb"
    assert chosen(cards(tmp_path / "a", str(enough)), 64 * GIB) == preset.name
    assert chosen(cards(tmp_path / "b", str(enough - 1)), 64 * GIB) == below


@pytest.mark.parametrize(
    ("mebibytes", "name"),
    [
        # What nvidia-smi says of a GTX 1650, RTX 5060, 4070, 4080, L4, 4090 and H200.
        (4096, "cpu-8gb"),
        (8151, "vram-8gb"),
        (12282, "vram-16gb"),
        (16376, "vram-16gb"),
        (23034, "vram-24gb"),
        (24564, "vram-24gb"),
        (143771, "vram-24gb"),
    ],
)
def test_cards_as_they_are_sold(mebibytes: int, name: str, tmp_path: Path) -> None:
    assert chosen(cards(tmp_path, str(mebibytes)), 16 * GIB) == name


def test_the_memory_of_the_box_decides_to_the_byte_where_there_is_no_gpu(tmp_path: Path) -> None:
    gpu, smallest = seen(HOSTS["no GPU"], tmp_path), BY_NAME["cpu-8gb"]
    fits, tight = least(smallest, 0.7), least(smallest, 0.85)
    assert choose(gpu, fits)[::2] == (smallest, False)
    assert choose(gpu, fits - 2)[::2] == (smallest, True)
    assert choose(gpu, tight)[::2] == (smallest, True)
    assert choose(gpu, tight - 2).preset is None
    assert choose(gpu, 0).preset is None
    assert chosen(gpu, 512 * GIB) == "cpu-8gb"


def test_several_gpus_count_together_and_that_is_said(tmp_path: Path) -> None:
    gpu = cards(tmp_path, "8192", "16376")
    assert chosen(gpu, 8 * GIB) == "vram-24gb"
    text = suggestion(gpu, 8 * GIB)
    assert "GPU: usable by nvidia: Card 1, 8 GiB, Card 2, 16 GiB.\n" in text
    assert "  Models may take 21.6 GiB (90 % of 24.0 GiB, all 2 together).\n" in text


def test_a_card_of_unknown_memory_beside_another_is_left_out_and_named(tmp_path: Path) -> None:
    gpu = cards(tmp_path, "8192", "[N/A]")
    assert chosen(gpu, 8 * GIB) == "vram-8gb"
    assert "  Card 2 does not tell its memory, so it is not counted.\n" in suggestion(gpu, 8 * GIB)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("NVIDIA, without nvidia-smi", "RTX 3060 does not tell its memory, so the memory of the box decides."),
        ("NVIDIA, GB10 on arm64", "NVIDIA GB10 does not tell its memory, so the memory of the box decides."),
        ("Jetson Orin, JetPack 6", "is part of the processor and shares the memory of the box, so the memory of the"),
        ("AMD, Strix Halo", "is part of the processor and shares the memory of the box, so the memory of the box"),
        ("AMD, part of a processor", "is part of the processor and shares the memory of the box, so the memory of"),
        ("Intel, part of a processor", "GPU: none that Ollama can use: Intel device 46a6: it works with vulkan, by"),
        ("NVIDIA, no driver", "GPU: none that Ollama can use: NVIDIA device 2504: no driver holds it"),
        ("no GPU", "GPU: none that Ollama can use: there is no GPU by NVIDIA, AMD or Intel."),
    ],
)
def test_where_the_gpu_does_not_decide_the_reason_is_told(host: str, says: str, tmp_path: Path) -> None:
    gpu = seen(HOSTS[host], tmp_path)
    assert chosen(gpu, 16 * GIB) == "cpu-8gb"
    assert says in suggestion(gpu, 16 * GIB)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("AMD, built for ROCm", "vram-24gb"),
        ("AMD, not built for ROCm", "vram-8gb"),
        ("NVIDIA and Intel", "vram-16gb"),
        ("NVIDIA without driver, and AMD", "vram-24gb"),
        ("WSL2 with NVIDIA", "vram-16gb"),
    ],
)
def test_gpus_of_every_kind_count(host: str, name: str, tmp_path: Path) -> None:
    assert chosen(seen(HOSTS[host], tmp_path), 16 * GIB) == name


def test_only_what_the_mode_can_use_counts(tmp_path: Path) -> None:
    # NVIDIA goes before AMD, whose 24 GiB then lie idle.
    both = HOSTS["NVIDIA, ready"] + Host(
        {
            key.replace("0000:01", "0000:02"): value
            for key, value in HOSTS["AMD, built for ROCm"].files.items()
            if "0000:01:00.0" in key or "kfd" in key
        },
        {
            key.replace("0000:01", "0000:02"): value.replace("0000:01", "0000:02")
            for key, value in HOSTS["AMD, built for ROCm"].links.items()
        },
        HOSTS["AMD, built for ROCm"].nodes,
    )
    gpu = seen(both, tmp_path)
    assert [card["vendor"] for card in gpu["gpus"]] == ["nvidia", "amd"]
    assert "Models may take 10.8 GiB (90 % of 12.0 GiB, its memory)." in suggestion(gpu, 16 * GIB)


def test_a_gpu_that_is_too_small_is_said_to_help(tmp_path: Path) -> None:
    text = suggestion(cards(tmp_path, "6144"), 16 * GIB)
    assert "vram-8gb takes 7.1 GiB, so the memory of the box decides. Ollama uses the GPU in part." in text
    assert "Preset cpu-8gb, by the memory of the box.\n" in text


def test_the_whole_page_for_a_box_with_a_gpu(tmp_path: Path) -> None:
    assert suggestion(seen(HOSTS["NVIDIA, ready"], tmp_path), 16 * GIB).splitlines() == [
        "Memory: 16.0 GiB; models may take 11.2 GiB of it (70 %).",
        "GPU: usable by nvidia: NVIDIA GeForce RTX 3060, 12 GiB.",
        "  Models may take 10.8 GiB (90 % of 12.0 GiB, its memory).",
        "",
        "Preset vram-16gb, by the memory of the GPU.",
        "  It fits: all its models together take 10.5 GiB of 10.8 GiB.",
        "  qwen3.5:9b        chat       download  6.6 GB, memory 9.1 GiB",
        "  nomic-embed-text  embedding  download  0.3 GB, memory 1.3 GiB",
        "",
        "Take it with:",
        "  cp docs/examples/models/vram-16gb.yml group_vars/all/models.yml",
        "  make check",
    ]


def test_the_page_of_the_documentation_shows_what_is_printed(tmp_path: Path) -> None:
    gpu = seen(system(run__systemd__container="docker\n"), tmp_path)
    printed = suggestion(gpu, int(23.52 * GIB))
    assert f"```\n{printed}\n```" in (ROOT / "docs/models.md").read_text(encoding="utf-8")


def test_a_box_without_gpu_hears_what_else_fits(tmp_path: Path) -> None:
    gpu = seen(HOSTS["no GPU"], tmp_path)
    assert "  vram-16gb fits too (10.5 GiB), but answers slowly without a GPU.\n" in suggestion(gpu, 24 * GIB)
    assert "fits too" not in suggestion(gpu, 8 * GIB)
    assert "  It is tight: all its models together take 5.4 GiB of 5.2 GiB.\n" in suggestion(gpu, int(7.4 * GIB))


def test_a_box_that_is_too_small_hears_what_to_do(tmp_path: Path) -> None:
    gpu: Any = seen(HOSTS["no GPU"], tmp_path)
    smaller = (
        "Name a smaller model in group_vars/all/models.yml: qwen3.5:0.8b takes 3.1 GiB (download 1.0 GB).\n"
        "Hosted models take no memory here: docs/providers.md."
    )
    small = suggestion(gpu, 6 * GIB)
    assert "No preset fits: the smallest, cpu-8gb, takes 5.4 GiB.\n" in small
    assert small.endswith(smaller)
    tiny = suggestion(gpu, 2 * GIB)
    assert "qwen3.5:0.8b" not in tiny
    assert tiny.endswith("takes 5.4 GiB.\nHosted models take no memory here: docs/providers.md.")
    assert "cp docs" not in small + tiny


def test_nvidia_smi_that_fails_is_no_memory(tmp_path: Path) -> None:
    root = HOSTS["NVIDIA, driver just updated"].write(tmp_path)
    gpu = gpu_facts(Tree(root), lambda _command: Answer(1, "", "Failed to initialize NVML\n"))
    assert chosen(gpu, 16 * GIB) == "cpu-8gb"
