"""Measures runs of the playbooks, a switch of models and the load a gateway bears, as ratios within this one run.

Ends with status 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from scripts.benchmark import load, runs, switch
from scripts.benchmark.box import BED, BOX, SCENARIO, Failed, Playbooks, machine, run
from scripts.benchmark.report import say

PARTS = {"runs": runs.measure, "switch": switch.measure, "load": load.measure}


def options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; ends the process when it is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="?", type=int, choices=range(1, 11), default=3, help="medians of so many (3)")
    parser.add_argument("--part", choices=PARTS, help="measure this alone; all of it otherwise")
    return parser.parse_args(arguments)


def measure(parts: list[str], count: int, folder: Path) -> bool:
    """Measure these parts and print their tables; return whether every limit is kept. Raises Failed."""
    playbooks = Playbooks(folder)
    tables = [PARTS[part](playbooks, count) for part in parts]
    say(f"\nMedians on {machine()}.")
    # Every table is printed, also after one with a limit passed.
    kept = [table() for table in tables]
    return all(kept)


def main(arguments: list[str]) -> int:
    """Make the box, measure, and remove the box whatever happens; return the exit status."""
    chosen = options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(*BED, "up", "--images", os.environ.get("IMAGES") or "test")
        try:
            run(*BED, "box", "create", BOX, "--scenario", SCENARIO)
            with tempfile.TemporaryDirectory() as folder:
                return 0 if measure([chosen.part] if chosen.part else list(PARTS), chosen.runs, Path(folder)) else 1
        finally:
            run(*BED, "box", "remove", "--scenario", SCENARIO)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
