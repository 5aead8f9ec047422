"""What is said of each box: where Ollama should run there, why, and what keeps a GPU from being used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.modules import gpu_facts
from tests.unit.gpu_hosts import FIRST, GIB, HOSTS, OTHER_UUID, UUID


def look(root: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """Run the module over a root and return what it found."""
    with patch_module_args({"root": str(root), **options}), pytest.raises(SystemExit) as end:
        gpu_facts.main()
    result = json.loads(capsys.readouterr().out)
    assert (end.value.code, result["changed"]) == (0, False), result
    found: dict[str, Any] = result["gpu"]
    return found


@pytest.fixture(name="seen")
def seen_of(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return look(HOSTS[request.param].write(tmp_path), capsys)


VERDICTS = {
    "no GPU": ("cpu", "there is no GPU by NVIDIA, AMD or Intel"),
    "virtual machine with a display of its own": ("cpu", "no GPU is passed to this virtual machine"),
    "server with ASPEED's display": ("cpu", "there is no GPU by NVIDIA, AMD or Intel"),
    "NVIDIA, ready": ("nvidia", "NVIDIA GeForce RTX 3060, 12 GiB"),
    "NVIDIA, without nvidia-smi": ("nvidia", "NVIDIA GeForce RTX 3060"),
    "NVIDIA, two cards": ("nvidia", "NVIDIA GeForce RTX 3060, 12 GiB, NVIDIA GeForce RTX 4090, 24 GiB"),
    "NVIDIA, driver too old": (
        "cpu",
        "NVIDIA device 2504: its driver 535.247.01 is too old: Ollama needs 550 or newer. Install NVIDIA's driver with",
    ),
    "NVIDIA, driver too old for an old card": (
        "cpu",
        "NVIDIA GeForce GTX 1080, 8 GiB: its driver 550.163.01 is too old for compute capability 6.1: Ollama needs 570",
    ),
    "NVIDIA, card too old": ("cpu", "NVIDIA GeForce GTX 680, 2 GiB: its compute capability 3.0 is below 5.0"),
    "NVIDIA, held by nouveau": (
        "cpu",
        "NVIDIA device 2504: the driver nouveau holds it, and nvidia is needed. Install",
    ),
    "NVIDIA, no driver": ("cpu", "NVIDIA device 2504: no driver holds it, and nvidia is needed. Install"),
    "NVIDIA, set aside for a virtual machine": (
        "cpu",
        "NVIDIA device 2504: it is set aside for a virtual machine (driver vfio-pci), so this system cannot use it",
    ),
    "NVIDIA, driver just updated": (
        "cpu",
        "nvidia-smi fails: Failed to initialize NVML: Driver/library version mismatch. After an update of the driver",
    ),
    "NVIDIA, device nodes missing": ("cpu", "its device nodes are missing. Run nvidia-modprobe -c 0 -u as root"),
    "NVIDIA, LXC without its nodes": (
        "cpu",
        "its device nodes are not passed to this container (lxc). Pass /dev/nvidia* on its host",
    ),
    "NVIDIA, a data centre card": ("nvidia", "NVIDIA H200, 140 GiB"),
    "NVIDIA, GB10 on arm64": ("nvidia", "NVIDIA GB10"),
    "WSL2 with NVIDIA": ("nvidia", "NVIDIA GeForce RTX 4070, 12 GiB"),
    "WSL2 without NVIDIA": ("cpu", "Windows lends no NVIDIA GPU to this system"),
    "Jetson Orin, JetPack 6": ("nvidia", "NVIDIA Jetson Orin Nano Developer Kit"),
    "Jetson Nano, JetPack 4": ("cpu", "JetPack 4 is too old: Ollama needs JetPack 5 or newer"),
    "AMD, built for ROCm": ("rocm", "AMD device 744c, gfx1100, 24 GiB"),
    "AMD, not built for ROCm": ("vulkan", "AMD device 73ff, gfx1032, 8 GiB"),
    "AMD, Instinct": ("rocm", "AMD device 740f, gfx90a, 64 GiB"),
    "AMD, Strix Halo": ("rocm", "AMD device 1586, gfx1151, 62 GiB"),
    "AMD, part of a processor": ("vulkan", "AMD device 15bf, gfx1103, 15 GiB"),
    "AMD, in a container without its nodes": (
        "cpu",
        "AMD device 744c: its device node /dev/dri/renderD* is missing in this container (lxc)",
    ),
    "AMD, old driver": ("cpu", "AMD device 6798: the driver radeon holds it, and amdgpu is needed"),
    "Intel, part of a processor": ("cpu", "Intel device 46a6: it works with vulkan, by choice"),
    "Intel Arc": ("cpu", "Intel device 56a0: it works with vulkan, by choice"),
    "NVIDIA and Intel": (
        "nvidia",
        "NVIDIA GeForce RTX 3060, 12 GiB; not used: Intel device 4680: it works with vulkan",
    ),
    "NVIDIA without driver, and AMD": (
        "rocm",
        "AMD device 744c, gfx1100, 24 GiB; not used: NVIDIA device 2504: the driver nouveau holds it",
    ),
}


def test_every_host_has_a_verdict() -> None:
    assert VERDICTS.keys() == HOSTS.keys()


@pytest.mark.parametrize(
    ("seen", "mode", "reason"), [(host, *said) for host, said in VERDICTS.items()], indirect=["seen"]
)
def test_where_ollama_should_run_and_why(seen: dict[str, Any], mode: str, reason: str) -> None:
    verdict = seen["verdict"]
    assert (verdict["mode"], verdict["problem"]) == (mode, "")
    assert reason in verdict["reason"], verdict["reason"]


@pytest.mark.parametrize("seen", HOSTS, indirect=True)
def test_a_gpu_that_cannot_be_used_says_why(seen: dict[str, Any]) -> None:
    assert all(bool(gpu["problem"]) != bool(gpu["libraries"]) for gpu in seen["gpus"])


@pytest.mark.parametrize(
    ("host", "mode", "problem"),
    [
        ("Intel Arc", "vulkan", ""),
        ("NVIDIA, ready", "cpu", ""),
        ("NVIDIA, ready", "nvidia", ""),
        (
            "NVIDIA, ready",
            "rocm",
            "no GPU here can be used by rocm: NVIDIA GeForce RTX 3060, 12 GiB: it works with cuda",
        ),
        ("NVIDIA, no driver", "nvidia", "no GPU here can be used by nvidia: NVIDIA device 2504: no driver holds it"),
        ("no GPU", "vulkan", "no GPU here can be used by vulkan: there is no GPU by NVIDIA, AMD or Intel"),
    ],
)
def test_what_is_asked_for_is_taken_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, mode: str, problem: str
) -> None:
    verdict = look(HOSTS[host].write(tmp_path), capsys, mode=mode)["verdict"]
    assert verdict["mode"] == mode
    assert verdict["problem"].startswith(problem) if problem else not verdict["problem"]


@pytest.mark.parametrize("seen", ["NVIDIA, two cards"], indirect=True)
def test_cards_are_told_apart(seen: dict[str, Any]) -> None:
    assert [(gpu["address"], gpu["uuid"]) for gpu in seen["gpus"]] == [(FIRST, UUID), ("0000:02:00.0", OTHER_UUID)]
    assert [gpu["compute_capability"] for gpu in seen["gpus"]] == ["8.6", "8.9"]
    assert {gpu["driver_version"] for gpu in seen["gpus"]} == {"580.95.05"}


@pytest.mark.parametrize("seen", ["NVIDIA, without nvidia-smi"], indirect=True)
def test_the_kernel_module_tells_the_name_and_not_the_memory(seen: dict[str, Any]) -> None:
    (gpu,) = seen["gpus"]
    assert (gpu["name"], gpu["uuid"], gpu["memory_bytes"]) == ("NVIDIA GeForce RTX 3060", UUID, None)


@pytest.mark.parametrize("seen", ["AMD, Strix Halo"], indirect=True)
def test_a_gpu_of_the_processor_has_the_memory_of_the_box(seen: dict[str, Any]) -> None:
    (gpu,) = seen["gpus"]
    assert (gpu["integrated"], gpu["memory_bytes"]) == (True, 62 * GIB)
    assert gpu["nodes"] == ["/dev/dri/renderD128"]
    # Whoever runs the tests owns the files that stand for the nodes.
    assert seen["groups"] == [os.getgid()]


@pytest.mark.parametrize(
    "seen", ["Jetson Orin, JetPack 6", "WSL2 with NVIDIA", "virtual machine with a display of its own"], indirect=True
)
def test_the_place_is_told(seen: dict[str, Any]) -> None:
    place = seen["place"]
    assert [place["jetpack"] == 6, place["wsl"], place["virtual_machine"]].count(True) == 1


def test_this_machine_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    found = look(Path("/"), capsys)
    assert found["verdict"]["mode"] in ("nvidia", "rocm", "vulkan", "cpu")
    assert found["verdict"]["reason"]
