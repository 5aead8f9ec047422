"""The environment of Ollama's server: what the settings make of it, and what a user may add.

The names are those of Ollama 0.30 and later (envconfig/config.go).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .memory import CACHE_SHARES

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE_TYPES = tuple(CACHE_SHARES)
FLASH_ATTENTION = {"auto": "", "true": "1", "false": "0"}
# Set by a setting of this project, and two ways to set one thing would end in a riddle.
_SET_BY = {
    "CUDA_VISIBLE_DEVICES": "llm_gpu_devices",
    "GPU_DEVICE_ORDINAL": "llm_gpu_devices",
    "HIP_VISIBLE_DEVICES": "llm_gpu_devices",
    "NVIDIA_VISIBLE_DEVICES": "llm_gpu_devices",
    "ROCR_VISIBLE_DEVICES": "llm_gpu_devices",
    "OLLAMA_CONTEXT_LENGTH": "ollama_context_length",
    "OLLAMA_FLASH_ATTENTION": "ollama_flash_attention",
    "OLLAMA_KEEP_ALIVE": "ollama_keep_alive",
    "OLLAMA_KV_CACHE_TYPE": "ollama_kv_cache_type",
    "OLLAMA_MAX_LOADED_MODELS": "ollama_max_loaded_models",
    "OLLAMA_NUM_PARALLEL": "ollama_num_parallel",
}
_FIXED = {
    "HOME": "the folder of models is mounted there",
    "OLLAMA_HOST": "LiteLLM finds the server at this address",
    "OLLAMA_MODELS": "set llm_models_dir for another folder of the box",
    "OLLAMA_NO_CLOUD": "no question leaves the house unasked",
    "OLLAMA_DEBUG_LOG_REQUESTS": "it writes what people ask to a file",
    "HTTP_PROXY": "it breaks Ollama's own requests; set HTTPS_PROXY",
}
_GONE = {
    "OLLAMA_INTEL_GPU": "set llm_gpu: vulkan",
    "OLLAMA_MAX_VRAM": "OLLAMA_GPU_OVERHEAD keeps bytes of each GPU free",
    "OLLAMA_NEW_ENGINE": "every model runs in the new engine",
    "OLLAMA_RUNNERS_DIR": "the runners come with the image",
    "OLLAMA_TMPDIR": "temporary files lie beside the models",
}
_REFUSED = {
    **{name: f"{{name}} is set by {setting}" for name, setting in _SET_BY.items()},
    **{name: f"{{name}} cannot be set: {why}" for name, why in _FIXED.items()},
    **{name: f"Ollama no longer knows {{name}}: {instead}" for name, instead in _GONE.items()},
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# With a scheme or, as Go reads proxies too, without.
_PASSWORD = re.compile(r"(://|\A)[^/@\s]+@")


def environment_problem(declared: Any) -> str | None:
    """Return what is wrong with ``ollama_environment``, all of it in one sentence; None when nothing is."""
    if not hasattr(declared, "items"):
        return "is not a mapping of names to values"
    wrong = [problem for name, value in declared.items() if (problem := _problem(str(name), value))]
    return "; ".join(wrong) or None


def server_environment(
    fixed: Mapping[str, Any], cache_type: str, flash_attention: Any, *more: Mapping[str, Any]
) -> dict[str, str]:
    """Return the whole environment.

    Args:
        fixed: what does not depend on these settings.
        cache_type: one of ``CACHE_TYPES``.
        flash_attention: ``auto``, or a truth value that forces it.
        more: what the GPUs need, and what the user adds.
    """
    flash = FLASH_ATTENTION[str(flash_attention).lower()]
    if cache_type != "f16" and not flash:
        # Without it the server keeps 16 bits, and says so in its log alone.
        flash = "1"
    environment = {**fixed, "OLLAMA_KV_CACHE_TYPE": cache_type, **({"OLLAMA_FLASH_ATTENTION": flash} if flash else {})}
    for mapping in more:
        environment |= mapping
    return {name: str(value) for name, value in environment.items()}


def _problem(name: str, value: Any) -> str:
    if not _NAME.match(name):
        return f"{name!r} is no name of a variable"
    upper = name.upper()
    if upper in _REFUSED:
        return _REFUSED[upper].format(name=name)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return f'{name} is no text; write it in quotes, such as "1"'
    if _PASSWORD.search(str(value)):
        return f"{name} holds a password, which everybody who may ask Docker could read"
    return ""
