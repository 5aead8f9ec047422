"""What a user reads about the GPUs before anything changes: where models will run, and what is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .container import choice_problems, gpu_container
from .verdict import CPU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .shapes import GpuFacts

_SETTING = "llm_gpu (group_vars/all/gateway.yml)"


def gpu_line(facts: GpuFacts, chosen: Sequence[str] = ()) -> str:
    """Return where models will run, and why there."""
    verdict = facts["verdict"]
    if verdict["mode"] == CPU:
        return f"models run on the CPU: {verdict['reason']}"
    names = gpu_container(facts, chosen)["gpus"]
    used = f"; used: {', '.join(names)}" if chosen else ""
    return f"models run on the GPU by {verdict['mode']}: {verdict['reason']}{used}"


def gpu_problems(facts: GpuFacts, chosen: Sequence[str] = ()) -> list[str]:
    """Return why the declared GPUs cannot be had, and what to write instead."""
    problem = facts["verdict"]["problem"]
    if problem:
        return [f"{_SETTING}: {problem}. Mend that, or set llm_gpu: auto, which settles for the CPU."]
    if chosen and facts["verdict"]["mode"] == CPU:
        # Nothing was found that could be chosen from; the verdict's reason is shown.
        return [f"llm_gpu_devices: models run on the CPU ({facts['verdict']['reason']}). Set llm_gpu_devices: []."]
    return choice_problems(facts, chosen)
