"""Runs the test bed: python molecule/shared/bed VERB."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bed.cli import main  # noqa: E402 -- the line above makes it importable

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
