"""What the tests in depth have shown, and what could not be told, as lines of the printed receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "stream": lambda found: f"a stream in {found['pieces']} pieces over {found['seconds']:.2f} s",
    "tools": lambda _: "calls a tool",
    "context": lambda found: (
        f"{found['counted']} tokens of its context of {found['declared']} in {found['seconds']:.1f} s"
    ),
    "vectors": lambda found: f"the same vector of {found['dimensions']} numbers for the same text",
}


def proof_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the lines for a result of the module ``gateway_check``; none where there is nothing to add."""
    proved = [
        f"  {model['name']}: " + ", ".join(_WORDS[test](found) for test, found in model["proofs"].items())
        for model in result["models"]
        if model.get("proofs")
    ]
    lines = ["", "Tested in depth:", *proved] if proved else []
    views = [
        f"  {view['place']}: {', '.join(view['answering']) or 'nothing'} answers"
        for view in result["outside"]
        if view["addresses"]
    ]
    lines += ["", "Seen from outside:", *views] if views else []
    lines += ["", "Not told:", *(f"  {note}" for note in result["notes"])] if result["notes"] else []
    return [*lines, "", f"Kept on the box: {result['receipt']}"] if result["receipt"] else lines
