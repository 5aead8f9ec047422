"""The containers of llama.cpp: what each runs, and which build of the image for which GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleFilterError

from plugins.filter import llamacpp
from plugins.module_utils.gpu.container import gpu_container
from plugins.module_utils.llamacpp.containers import image_for, llamacpp_containers
from tests.unit.gpu_hosts import by_cdi, look

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "ghcr.io/ggml-org/llama.cpp:server-b10868"
DIGEST = "@sha256:" + "0" * 64
CPU: dict[str, Any] = {"mode": "cpu", "options": {}, "environment": {}}
CODER = {
    "name": "coder",
    "host": "llamacpp-coder",
    "path": "/srv/models/coder.Q4_K_M.gguf",
    "context": 4096,
    "parallel": 2,
    "embeddings": False,
}
VECTORS = {**CODER, "name": "vectors", "host": "llamacpp-vectors", "embeddings": True}


def containers(*instances: dict[str, Any], gpu: dict[str, Any] = CPU, image: str = IMAGE) -> dict[str, Any]:
    return llamacpp_containers(instances, image, gpu, 74087, "16g", 300)


@pytest.mark.parametrize(
    ("image", "mode", "runs"),
    [
        (IMAGE, "cpu", IMAGE),
        (IMAGE + DIGEST, "cpu", IMAGE + DIGEST),
        (IMAGE, "nvidia", "ghcr.io/ggml-org/llama.cpp:server-cuda-b10868"),
        (IMAGE, "rocm", "ghcr.io/ggml-org/llama.cpp:server-rocm-b10868"),
        (IMAGE, "vulkan", "ghcr.io/ggml-org/llama.cpp:server-vulkan-b10868"),
        ("mirror.lan:5000/llama:server-b10868", "nvidia", "mirror.lan:5000/llama:server-cuda-b10868"),
        # The user chose one, with its own digest.
        (f"x/llama:server-cuda12-b10868{DIGEST}", "nvidia", f"x/llama:server-cuda12-b10868{DIGEST}"),
    ],
)
def test_the_build_for_the_gpus_has_the_same_number(image: str, mode: str, runs: str) -> None:
    assert image_for(image, mode) == runs


def test_a_digest_of_the_image_for_the_cpu_is_never_left_out_without_a_word() -> None:
    gpu = {**CPU, "mode": "nvidia"}
    with pytest.raises(AnsibleFilterError, match=r"llm_images.llamacpp.digest: .* Write tag: server-cuda-b10868"):
        llamacpp.llamacpp_containers([CODER], IMAGE + DIGEST, gpu, 74087, "16g", 300)


def test_each_instance_serves_one_file_that_it_can_only_read() -> None:
    found = containers(CODER, VECTORS)
    assert list(found) == ["llamacpp-coder", "llamacpp-vectors"]
    service = found["llamacpp-coder"]
    assert service["volumes"] == ["/srv/models/coder.Q4_K_M.gguf:/models/coder.Q4_K_M.gguf:ro,z"]
    assert service["command"] == [
        *("--host", "0.0.0.0", "--port", "8080"),
        *("--offline", "--model", "/models/coder.Q4_K_M.gguf", "--alias", "coder"),
        # Two answers at a time, each with the declared context.
        *("--ctx-size", "8192", "--parallel", "2"),
    ]
    assert found["llamacpp-vectors"]["command"] == [
        *service["command"][:8],
        "vectors",
        *service["command"][9:],
        "--embeddings",
    ]
    assert "ports" not in service


def test_it_is_healthy_when_its_model_is_loaded() -> None:
    health = containers(CODER)["llamacpp-coder"]["healthcheck"]
    assert health["test"][-1] == "http://127.0.0.1:8080/health"
    assert health["start_period"] == "300s"


@pytest.mark.parametrize(
    ("host", "build", "options"),
    [
        ("no GPU", "server-b10868", {}),
        ("NVIDIA, ready", "server-cuda-b10868", by_cdi("nvidia.com/gpu=all")),
    ],
)
def test_the_gpus_that_were_found_are_handed_over(
    tmp_path: Path, host: str, build: str, options: dict[str, Any]
) -> None:
    service = containers(CODER, gpu=dict(gpu_container(look(host, tmp_path))))["llamacpp-coder"]
    assert service["image"].endswith(f":{build}")
    assert service.get("deploy", {}) == options.get("deploy", {})


def test_without_a_server_no_image_is_judged() -> None:
    gpu = {"mode": "nvidia", "options": {}, "environment": {}}
    pinned = "ghcr.io/ggml-org/llama.cpp:server-b10868@sha256:" + "0" * 64
    assert llamacpp_containers([], pinned, gpu, 74087, "16g", 300) == {}


def test_device_nodes_groups_and_environment_reach_the_container() -> None:
    gpu = {
        "mode": "rocm",
        "options": {"devices": ["/dev/kfd", "/dev/dri/renderD128"], "group_add": ["109"]},
        "environment": {"HSA_X": "1"},
    }
    service = containers(CODER, gpu=gpu)["llamacpp-coder"]
    assert service["devices"] == ["/dev/kfd", "/dev/dri/renderD128"]
    assert service["group_add"] == ["109"]
    assert service["environment"] == {"HOME": "/tmp", "NVIDIA_VISIBLE_DEVICES": "void", "HSA_X": "1"}
    assert service["image"].endswith(":server-rocm-b10868")
