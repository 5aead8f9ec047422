"""Where a model really runs, told by two signals: what the server says of its memory, and what its log says.

One alone has been wrong: `/api/ps` told of GPU memory that nothing used (ollama/ollama#17841), and a server whose GPU
was lost after its start still has the good news in its log.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from .api import Loaded

CPU = "cpu"
# What the server calls the library of each mode (discover/types.go).
LIBRARIES = {"nvidia": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan"}
_FOUND = re.compile(r'msg="inference compute".*?\blibrary="?(\w+)')
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BAD_SIGNS = re.compile(
    r"NVIDIA driver too old|dropping integrated GPU|dropping ROCm device|failure during \S+ GPU discovery"
    r"|failed to finish discovery before timeout|watchdog timed out|Failed to initialize NVML",
    re.IGNORECASE,
)
_LONGEST_SIGN = 200


class LogSigns(NamedTuple):
    """What a server's log tells since its start. Log rotation may have taken any of it."""

    libraries: tuple[str, ...]  # of the processors it found: CUDA, ROCm, Vulkan or cpu
    offloaded: tuple[int, int] | None  # layers of the newest load: on GPUs, and all
    bad: tuple[str, ...]


class Placement(TypedDict):
    """Where a model runs."""

    model: str
    libraries: list[str]
    gpu_share: float | None  # of the model's memory, 0 to 1; None where no model is loaded
    offloaded: list[int] | None  # layers on GPUs, and all
    line: str  # for the user to read
    problem: str  # why it does not run where it should; empty when it does


def read_log(text: str) -> LogSigns:
    """Return what a log tells."""
    offloaded = _OFFLOADED.findall(text)
    bad = [line.strip()[-_LONGEST_SIGN:] for line in text.splitlines() if _BAD_SIGNS.search(line)]
    return LogSigns(
        tuple(dict.fromkeys(_FOUND.findall(text))),
        (int(offloaded[-1][0]), int(offloaded[-1][1])) if offloaded else None,
        tuple(dict.fromkeys(bad)),
    )


def judge(mode: str, signs: LogSigns, loaded: Loaded | None) -> Placement:
    """Return where a model runs.

    Args:
        mode: where it should: nvidia, rocm, vulkan or cpu.
        signs: what the server's log tells.
        loaded: a model in memory; None where there is none, and then the log alone is judged.
    """
    share = loaded.gpu_bytes / loaded.bytes if loaded and loaded.bytes else None
    return {
        "model": loaded.name if loaded else "",
        "libraries": list(signs.libraries),
        "gpu_share": None if share is None else round(share, 3),
        "offloaded": list(signs.offloaded) if signs.offloaded else None,
        "line": _line(mode, signs, loaded, share),
        "problem": "" if mode == CPU else _problem(mode, signs, loaded, share),
    }


def _line(mode: str, signs: LogSigns, loaded: Loaded | None, share: float | None) -> str:
    layers = f", {signs.offloaded[0]} of {signs.offloaded[1]} layers" if signs.offloaded else ""
    if loaded is None or share is None:
        return (
            f"Ollama found {' and '.join(signs.libraries) or 'no processor that its log tells of'}; no model is loaded"
        )
    if not share:
        return f"{loaded.name} runs on the CPU"
    where = LIBRARIES.get(mode, "the GPU")
    rest = "" if share >= 1 else ", the rest on the CPU: it is larger than the GPU's free memory"
    return f"{loaded.name} runs on {where}: {share:.0%} of its memory{layers}{rest}"


def _problem(mode: str, signs: LogSigns, loaded: Loaded | None, share: float | None) -> str:
    library = LIBRARIES[mode]
    seen = library in signs.libraries
    why = f" Its log says: {signs.bad[-1]}" if signs.bad else ""
    look = "See `docker logs llm-gateway-ollama`."
    if signs.libraries and not seen:
        return f"Ollama did not find the GPU by {library}, only {' and '.join(signs.libraries)}.{why} {look}"
    if loaded is None:
        return "" if seen else f"Nothing in Ollama's log tells of the GPU, and no model is there to try it with. {look}"
    if not share:
        return f"{loaded.name} runs on the CPU, though the GPU was found at the start.{why} {look}"
    if signs.offloaded and not signs.offloaded[0]:
        return (
            f"Ollama says that {loaded.name} lies on the GPU, but no layer of the model that was loaded last does."
            f"{why} {look}"
        )
    if not seen and signs.offloaded is None:
        # Log rotation took both lines; without a second signal nothing is proved.
        return (
            f"Ollama says that {loaded.name} lies on the GPU, but its log no longer tells so. "
            "Restart it (`docker restart llm-gateway-ollama`) and run again."
        )
    return ""
