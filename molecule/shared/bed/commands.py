"""Running other programs: quiet on success, with the end of their output on failure."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_LINES = 20


class Refused(Exception):
    """The user has to do something first; the text says what."""


class CommandFailed(Exception):
    """A program ended with an error.

    The text names the command, its exit status, the end of its output and, where there is one, the log file.
    """

    def __init__(self, argv: Sequence[str], status: int, output: str, log: Path | None = None) -> None:
        tail = "\n".join(f"    {line}" for line in output.rstrip().splitlines()[-TAIL_LINES:])
        where = f" (whole output: {log})" if log else ""
        super().__init__(f"{shlex.join(argv)} ended with status {status}{where}\n{tail}".rstrip())
        self.output = output


def run(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> str:
    """Runs a program with its output appended to a log file; returns the output. Raises CommandFailed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"+ {shlex.join(argv)}\n".encode())
        out.flush()
        begin = out.tell()
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    with log.open("rb") as written:
        written.seek(begin)
        output = written.read().decode(errors="replace")
    if done.returncode:
        raise CommandFailed(argv, done.returncode, output, log)
    return output


def capture(argv: Sequence[str]) -> str:
    """Runs a program and returns what it prints, stripped. Raises CommandFailed."""
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr + done.stdout)
    return done.stdout.strip()


def docker(*arguments: str) -> str:
    """Runs a docker command and returns what it prints, stripped. Raises CommandFailed."""
    return capture(["docker", *arguments])


def docker_lines(*arguments: str) -> list[str]:
    """Runs a docker command and returns its output line by line. Raises CommandFailed."""
    return docker(*arguments).splitlines()
