"""The end of a container's log, short enough for a message."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def log_end(text: str, lines: int = 40, width: int = 300) -> str:
    """Return the last lines of a log that say something new.

    A container that starts again and again says the same every time, and a traceback in JSON is one line of many
    thousand characters with its reason at the end.

    Args:
        text: the log.
        lines: how many lines to keep.
        width: how many characters to keep of a line; its beginning is left out.
    """
    plain = [line.rstrip() for line in _COLOUR.sub("", text).splitlines()]
    short = [line if len(line) <= width else "..." + line[-width:] for line in plain if line]
    # Of equal lines the last one stays, where it belongs to what comes after it.
    kept = list(reversed(dict.fromkeys(reversed(short))))
    return "\n".join(kept[-lines:])
