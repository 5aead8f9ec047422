"""The operating system, its memory, its disks and its accounts."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .shapes import FileFacts, OsFacts, PathFacts, UidFacts

# The kernel's words, and those of Docker and Debian for the same machine.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def parse_os_release(text: str, machine: str, kernel: str) -> OsFacts:
    """Read os-release (man 5 os-release).

    ``machine`` is the kernel's word for the architecture, ``kernel`` its release.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, raw = line.partition("=")
        if separator and not key.strip().startswith("#"):
            values[key.strip()] = " ".join(shlex.split(raw))
    return {
        "id": values.get("ID", "linux"),
        "version_id": values.get("VERSION_ID", ""),
        "codename": values.get("UBUNTU_CODENAME") or values.get("VERSION_CODENAME", ""),
        "pretty_name": values.get("PRETTY_NAME", "") or "an unknown Linux",
        "arch": _ARCHITECTURES.get(machine, machine),
        "kernel": kernel,
    }


def read_os(root: Path = Path("/")) -> OsFacts:
    """The system under ``root``; os-release stands in /etc or, failing that, in /usr/lib."""
    files = [root / name for name in ("etc/os-release", "usr/lib/os-release")]
    text = next((file.read_text(encoding="utf-8") for file in files if file.exists()), "")
    return parse_os_release(text, platform.machine(), platform.release())


def parse_memory(meminfo: str) -> int:
    """Bytes of memory, from the text of /proc/meminfo; 0 when it does not tell."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def read_memory(root: Path = Path("/")) -> int:
    """Bytes of memory the box has."""
    return parse_memory((root / "proc/meminfo").read_text(encoding="utf-8"))


def runs_systemd(root: Path = Path("/")) -> bool:
    """Whether systemd is the init system (the test of man 3 sd_booted)."""
    return (root / "run/systemd/system").is_dir()


def read_path(path: str) -> PathFacts:
    """Free bytes where ``path`` is or would be: at its nearest directory that exists."""
    existing = Path(path)
    while not existing.is_dir():
        existing = existing.parent
    room = os.statvfs(existing)
    return {"path": path, "free_bytes": room.f_bavail * room.f_frsize}


def read_uid(uid: int, folder: str = "") -> UidFacts:
    """The account and the group of this box that have the number, from every source of its nsswitch.conf.

    And what lies in the user's ``folder`` but belongs to somebody else; a new file system's own folder does not count.
    """
    try:
        account = pwd.getpwuid(uid).pw_name
    except KeyError:
        account = ""
    try:
        group = grp.getgrgid(uid).gr_name
    except (KeyError, OverflowError):  # a number no group can have gives the latter
        group = ""
    return {
        "uid": uid,
        "account": account,
        "group": group,
        "strangers": _strangers(Path(folder), uid) if folder else [],
    }


def read_file(path: str, uid: int) -> FileFacts:
    """Whether a file is there, and whether a user reads it to whom its folders are closed, as to a container's."""
    try:
        status = os.stat(path)
    except OSError:
        return {"path": path, "state": "missing", "readable": False}
    bits = (
        (stat.S_IROTH, True),
        (stat.S_IRUSR, status.st_uid == uid),
        (stat.S_IRGRP, status.st_gid == uid),
    )
    return {
        "path": path,
        "state": "file" if stat.S_ISREG(status.st_mode) else "other",
        "readable": any(status.st_mode & bit and applies for bit, applies in bits),
    }


def _strangers(folder: Path, uid: int) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.stat(follow_symlinks=False).st_uid != uid]
    return sorted(name for name in names if name != "lost+found")
