"""A box's files: those of this system, or recorded ones below a folder."""

from __future__ import annotations

import os
from pathlib import Path


class Tree:
    """Reads below a root and never raises for what is not there, or may not be read: to a container most of it is not.

    Args:
        root: ``/``, or the folder with recorded files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str) -> str:
        """Return a file's text without blanks around it; empty when there is none."""
        try:
            # Names in the device tree end with a NUL.
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip("\0 \t\n")
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        """Return the number that a file holds, decimal or with 0x; None when it holds none."""
        try:
            return int(self.text(path), 0)
        except ValueError:
            return None

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, in order."""
        try:
            return sorted(os.listdir(self.root / path))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Tell whether a file, folder or device node is there."""
        return (self.root / path).exists()

    def points_to(self, path: str) -> str:
        """Return the last name of where a link points, as sysfs tells drivers and devices; empty when it is no link."""
        try:
            return os.path.basename(os.readlink(self.root / path))
        except OSError:
            return ""

    def group(self, path: str) -> int | None:
        """Return the number of the group that a file belongs to."""
        try:
            return (self.root / path).stat().st_gid
        except OSError:
            return None
