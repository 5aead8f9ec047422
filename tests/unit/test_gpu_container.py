"""What Ollama's container gets of each box's GPUs, and which choices of GPUs are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.gpu.container import choice_problems, gpu_container
from tests.unit.gpu_hosts import FIRST, GIB, HOSTS, OTHER_UUID, UUID, by_cdi, look, look_at

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = {"options": {}, "environment": {}, "image": "ollama"}


@pytest.mark.parametrize(
    ("host", "mode", "expected"),
    [
        ("no GPU", "auto", NOTHING),
        ("NVIDIA, driver too old", "auto", NOTHING),
        ("NVIDIA, ready", "cpu", NOTHING),
        ("Intel Arc", "auto", NOTHING),
        ("NVIDIA, ready", "auto", {**NOTHING, "options": by_cdi("nvidia.com/gpu=all")}),
        ("WSL2 with NVIDIA", "auto", {**NOTHING, "options": by_cdi("nvidia.com/gpu=all")}),
        (
            "Jetson Orin, JetPack 6",
            "auto",
            {**NOTHING, "options": by_cdi("nvidia.com/gpu=all"), "environment": {"JETSON_JETPACK": "6"}},
        ),
    ],
)
def test_the_container_gets_what_the_verdict_asks_for(
    tmp_path: Path, host: str, mode: str, expected: dict[str, Any]
) -> None:
    found = gpu_container(look(host, tmp_path, mode))
    assert {key: value for key, value in found.items() if key in expected} == expected


def test_rocm_gets_its_image_the_nodes_and_their_groups_by_number(tmp_path: Path) -> None:
    facts = look("AMD, built for ROCm", tmp_path)
    found = gpu_container(facts)
    assert (found["mode"], found["image"], found["memory_bytes"]) == ("rocm", "ollama_rocm", 24 * GIB)
    assert found["options"] == {
        "devices": ["/dev/kfd", "/dev/dri/renderD128"],
        "group_add": [str(group) for group in facts["groups"]],
    }


@pytest.mark.parametrize(
    ("host", "mode", "environment"),
    [
        ("AMD, not built for ROCm", "auto", {}),
        ("AMD, part of a processor", "auto", {"OLLAMA_IGPU_ENABLE": "1"}),
        ("Intel Arc", "vulkan", {}),
        ("Intel, part of a processor", "vulkan", {"OLLAMA_IGPU_ENABLE": "1"}),
    ],
)
def test_vulkan_gets_the_nodes_alone_and_leave_for_a_gpu_of_the_processor(
    tmp_path: Path, host: str, mode: str, environment: dict[str, str]
) -> None:
    found = gpu_container(look(host, tmp_path, mode))
    assert (found["mode"], found["image"], found["environment"]) == ("vulkan", "ollama", environment)
    assert [device.startswith("/dev/dri/renderD") for device in found["options"]["devices"]] == [True]


def test_the_memory_of_several_cards_is_added_up_and_one_can_be_chosen(tmp_path: Path) -> None:
    facts = look("NVIDIA, two cards", tmp_path)
    assert gpu_container(facts)["memory_bytes"] == (12288 + 24564) * 1024**2
    one = gpu_container(facts, [OTHER_UUID.lower()])
    assert (one["gpus"], one["memory_bytes"]) == (["NVIDIA GeForce RTX 4090"], 24564 * 1024**2)
    assert one["options"] == by_cdi(f"nvidia.com/gpu={OTHER_UUID}")


def test_beside_a_card_the_gpu_of_the_processor_is_left_alone_unless_it_is_chosen(tmp_path: Path) -> None:
    both = HOSTS["AMD, part of a processor"] + HOSTS["AMD, not built for ROCm"]
    # Each of them has the first node where it is alone.
    both.links["sys/class/drm/renderD129/device"] = "../../../0000:c1:00.0"
    both.nodes += ("dev/dri/renderD129",)
    facts = look_at(both, tmp_path)
    found = gpu_container(facts)
    assert (found["mode"], found["shares_memory"], found["memory_bytes"]) == ("vulkan", False, 8 * GIB)
    assert found["environment"] == {}
    assert "not used: AMD device 15bf" in facts["verdict"]["reason"]
    chosen = gpu_container(facts, ["0000:c1:00.0"])
    assert (chosen["shares_memory"], chosen["environment"]) == (True, {"OLLAMA_IGPU_ENABLE": "1"})


def test_intels_gpu_beside_a_card_is_not_used_unasked(tmp_path: Path) -> None:
    both = HOSTS["Intel, part of a processor"] + HOSTS["AMD, not built for ROCm"]
    found = gpu_container(look_at(both, tmp_path))
    assert (found["gpus"], found["memory_bytes"]) == (["AMD device 73ff"], 8 * GIB)


def test_an_address_as_nvidia_smi_writes_it_is_known_too(tmp_path: Path) -> None:
    facts = look("NVIDIA, two cards", tmp_path)
    assert choice_problems(facts, ["00000000:02:00.0"]) == []
    assert gpu_container(facts, ["00000000:02:00.0"])["gpus"] == ["NVIDIA GeForce RTX 4090"]


def test_memory_that_one_card_does_not_tell_is_not_known(tmp_path: Path) -> None:
    assert gpu_container(look("NVIDIA, without nvidia-smi", tmp_path))["memory_bytes"] is None


def test_a_choice_is_judged_by_what_is_there_and_can_be_used(tmp_path: Path) -> None:
    facts = look("NVIDIA and Intel", tmp_path)
    assert choice_problems(facts, [UUID, FIRST]) == []
    able = f"Those that can be used: {UUID} (NVIDIA GeForce RTX 3060)."
    assert choice_problems(facts, [OTHER_UUID, "0000:00:02.0"]) == [
        f"llm_gpu_devices: the GPU {OTHER_UUID} is not there. {able}",
        f"llm_gpu_devices: the GPU 0000:00:02.0 cannot be used by nvidia. {able}",
    ]


def test_a_card_that_nothing_can_use_says_why_when_it_is_chosen(tmp_path: Path) -> None:
    (problem,) = choice_problems(look("NVIDIA without driver, and AMD", tmp_path), ["0000:02:00.0"])
    assert "cannot be used by rocm: the driver nouveau holds it, and nvidia is needed" in problem
