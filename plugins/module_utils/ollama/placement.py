"""Where a model really runs, told by two signals: what the server says of its memory, and what its log says.

One alone has been wrong: `/api/ps` told of GPU memory that nothing used (ollama/ollama#17841), and a server whose GPU
was lost after its start still has the good news in its log.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Where models run, by the one with the least on GPUs."""

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


def judge(mode: str, signs: LogSigns, loaded: Sequence[Loaded]) -> Placement:
    """Return where models run.

    Args:
        mode: where they should: nvidia, rocm, vulkan or cpu.
        signs: what the server's log tells.
        loaded: models in memory; the one with the least on GPUs counts. With none the log alone is judged.
    """
    # One that is just being loaded has no size yet.
    shares = [(entry.gpu_bytes / entry.bytes, entry.name) for entry in loaded if entry.bytes]
    share, name = min(shares, default=(None, ""))
    # The log does not say to which model its layers belong.
    offloaded = signs.offloaded if len(loaded) == 1 else None
    signs = signs._replace(offloaded=offloaded)
    return {
        "model": name,
        "libraries": list(signs.libraries),
        "gpu_share": None if share is None else round(share, 3),
        "offloaded": list(offloaded) if offloaded else None,
        "line": _line(mode, signs, name, share),
        "problem": "" if mode == CPU else _problem(mode, signs, name, share),
    }


def _line(mode: str, signs: LogSigns, name: str, share: float | None) -> str:
    if share is None:
        found = " and ".join(signs.libraries) or "no processor that its log tells of"
        return f"Ollama found {found}; no model is loaded"
    if not share:
        return f"{name} runs on the CPU"
    where = LIBRARIES.get(mode, "the GPU")
    layers = f", {signs.offloaded[0]} of {signs.offloaded[1]} layers" if signs.offloaded else ""
    rest = "" if share >= 1 else ", the rest on the CPU: it is larger than the GPU's free memory"
    # Requests fill the log, and its oldest part is thrown away.
    unseen = "" if signs.libraries or signs.offloaded else "; Ollama's log no longer tells of its start"
    return f"{name} runs on {where}: {share:.0%} of its memory{layers}{rest}{unseen}"


def _problem(mode: str, signs: LogSigns, name: str, share: float | None) -> str:
    library = LIBRARIES[mode]
    why = f" Its log says: {signs.bad[-1]}" if signs.bad else ""
    look = "See `docker logs llm-gateway-ollama`."
    if signs.libraries and library not in signs.libraries:
        return f"Ollama did not find the GPU by {library}, only {' and '.join(signs.libraries)}.{why} {look}"
    if share is None:
        told = library in signs.libraries
        return "" if told else f"Nothing in Ollama's log tells of the GPU, and no model is there to try it with. {look}"
    if not share:
        return f"{name} runs on the CPU, though the GPU was found at the start.{why} {look}"
    if signs.offloaded and not signs.offloaded[0]:
        return f"Ollama says that {name} lies on the GPU, but by its log no layer does.{why} {look}"
    return ""
