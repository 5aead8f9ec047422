"""Which changes belong together: all since the gateway was last verified are one generation.

The folder of all projects holds the number of the present generation. Each project notes in which generation its last
good state was replaced, so that going back takes along exactly the projects that the last change touched.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterable

GENERATION = ".generation"


def read(folder: str, name: str) -> int | None:
    """Return the number in a file; None when there is none.

    Raises:
        ValueError: the file holds something else.
    """
    path = posixpath.join(folder, name)
    try:
        with open(path, encoding="ascii") as handle:
            text = handle.read()
    except FileNotFoundError:
        return None
    if not text.strip().isdigit():
        raise ValueError(f"{path} holds no number; remove it, and run make apply")
    return int(text)


def write(folder: str, name: str, number: int) -> None:
    """Write a number into a file in one step."""
    handle, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(f"{number}\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, posixpath.join(folder, name))


def current(deploy_dir: str) -> int | None:
    """Return the number of the present generation; None while no gateway was verified."""
    return read(deploy_dir, GENERATION)


def forget_without_projects(deploy_dir: str) -> None:
    """Remove the number when the last project is gone: nothing is left that could go back."""
    if os.listdir(deploy_dir) == [GENERATION]:
        os.unlink(posixpath.join(deploy_dir, GENERATION))


def next_number(present: int | None, replaced: Iterable[int]) -> int:
    """Return the generation that begins with a verified gateway; the same one when nothing was replaced since."""
    return 1 if present is None else present + (present in set(replaced))
