"""The Docker engine and the few programs the bed needs on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from bed.commands import CommandFailed, Refused, capture, run
from bed.layout import Layout
from bed.progress import Progress

PACKAGES = {"openssl": ["openssl"], "mmdebstrap": ["mmdebstrap", "debian-archive-keyring"]}
"""Debian packages of the programs needed besides Docker."""

ENGINE_START_SECONDS = 60
ENGINE_STOP_SECONDS = 30


def engine_packages(has_client: bool, has_separate_client: bool) -> list[str]:
    """Debian packages that give an engine; newer releases keep the client in a package of its own."""
    return ["docker.io", "iptables", *(["docker-cli"] if has_separate_client and not has_client else [])]


def install_command(packages: list[str]) -> list[str]:
    """The command that installs packages and nothing they merely recommend."""
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def uses_apt(os_release: str) -> bool:
    """Whether this text of /etc/os-release is that of Debian, Ubuntu or a relative."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    return not {"debian", "ubuntu"}.isdisjoint(names)


def unreachable_reason(message: str, is_root: bool, has_engine: bool, docker_host: str, apt: bool) -> str | None:
    """What the user must do when Docker does not answer, or None when the bed can install or start it itself."""
    if docker_host:
        return f"Docker does not answer at DOCKER_HOST={docker_host}. Start it, or unset DOCKER_HOST."
    if "permission denied" in message.lower():
        return 'Your user may not use Docker. Run: sudo usermod -aG docker "$USER"   then log in again.'
    if is_root and (has_engine or apt):
        return None
    if has_engine:
        return "Docker is installed but not running. Run: sudo systemctl start docker"
    if apt:
        packages = engine_packages(has_client=False, has_separate_client=_has_separate_client())
        wanted = [*packages, *PACKAGES["mmdebstrap"], *PACKAGES["openssl"]]
        return f"Docker is missing. Run: sudo {' '.join(install_command(wanted))}"
    return "Docker is missing. Install it as https://docs.docker.com/engine/install/ says, then run this again."


class Engine:
    """The one Docker engine of this machine."""

    def __init__(self, layout: Layout, progress: Progress) -> None:
        self._layout = layout
        self._progress = progress

    def ensure(self) -> None:
        """Makes the engine answer and the other programs available. Raises Refused, CommandFailed."""
        message = self.problem()
        if message is not None:
            if reason := self._unreachable_reason(message):
                raise Refused(reason)
            if not (shutil.which("docker") and shutil.which("dockerd")):
                self._install_engine()
            if self.problem() is not None:
                self._start()
        self._ensure_programs()

    def start_if_installed(self) -> bool:
        """Makes an installed engine answer; False when there is none. Raises Refused, CommandFailed."""
        if shutil.which("docker") is None:
            return False
        message = self.problem()
        if message is None:
            return True
        if reason := self._unreachable_reason(message):
            raise Refused(reason)
        if shutil.which("dockerd") is None:
            return False
        self._start()
        return True

    def problem(self) -> str | None:
        """Docker's own words when the engine does not answer, None when it does."""
        if shutil.which("docker") is None:
            return "no docker command"
        try:
            capture(["docker", "version", "--format", "{{.Server.Version}}"])
        except CommandFailed as failure:
            return failure.output.strip()
        return None

    def stop_if_ours(self) -> None:
        """Stops the engine when the bed started it, and says so."""
        pid = self._our_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + ENGINE_STOP_SECONDS
        while _is_engine(pid):
            if time.monotonic() > deadline:
                raise Refused(f"dockerd (process {pid}) does not stop; stop it by hand and run this again.")
            time.sleep(0.2)
        self._layout.engine_pid.unlink()
        self._progress.say("stopped the Docker engine that the test bed had started")

    def _unreachable_reason(self, message: str) -> str | None:
        return unreachable_reason(
            message,
            is_root=os.geteuid() == 0,
            has_engine=shutil.which("dockerd") is not None,
            docker_host=os.environ.get("DOCKER_HOST", ""),
            apt=_host_uses_apt(),
        )

    def _install_engine(self) -> None:
        self._progress.say("Docker is missing: installing the distribution's engine (docker.io, iptables)")
        self._install(engine_packages(shutil.which("docker") is not None, _has_separate_client()))

    def _ensure_programs(self) -> None:
        missing = [program for program in PACKAGES if shutil.which(program) is None]
        if not missing:
            return
        packages = [package for program in missing for package in PACKAGES[program]]
        if not _host_uses_apt():
            raise Refused(f"{' and '.join(missing)} missing. Install it with this system's package manager.")
        if os.geteuid() != 0:
            raise Refused(f"{' and '.join(missing)} missing. Run: sudo {' '.join(install_command(packages))}")
        self._progress.say(f"installing {' '.join(missing)}")
        self._install(packages)

    def _install(self, packages: list[str]) -> None:
        log = self._layout.logs / "install.log"
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        with self._progress.step(f"apt-get install {' '.join(packages)}"):
            run(["apt-get", "update", "-q"], log=log, env=env)
            run(install_command(packages), log=log, env=env)

    def _start(self) -> None:
        if Path("/run/systemd/system").is_dir():
            self._progress.say("starting Docker with systemctl")
            run(["systemctl", "start", "docker"], log=self._layout.logs / "engine.log")
            return
        log = self._layout.logs / "dockerd.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._progress.step("starting dockerd"), log.open("ab") as out:
            # A session of its own: the engine outlives this program and gets none of its signals.
            process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            self._layout.engine_pid.write_text(f"{process.pid}\n")
            deadline = time.monotonic() + ENGINE_START_SECONDS
            while self.problem() is not None:
                status = process.poll()
                if status is not None or time.monotonic() > deadline:
                    if status is not None:
                        self._layout.engine_pid.unlink()
                    raise CommandFailed(["dockerd"], status or 0, log.read_text(errors="replace"), log)
                time.sleep(0.2)
        self._progress.say(f"started dockerd (no systemd here; its log is {log})")

    def _our_pid(self) -> int | None:
        if not self._layout.engine_pid.exists():
            return None
        pid = int(self._layout.engine_pid.read_text())
        return pid if _is_engine(pid) else None


def _is_engine(pid: int) -> bool:
    """Whether this process is a living dockerd; an ended one that nobody has waited for yet does not count."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return "(dockerd) " in fields and "(dockerd) Z" not in fields


def _host_uses_apt() -> bool:
    os_release = Path("/etc/os-release")
    return os_release.exists() and uses_apt(os_release.read_text()) and shutil.which("apt-get") is not None


def _has_separate_client() -> bool:
    try:
        return "Package: docker-cli" in capture(["apt-cache", "show", "docker-cli"])
    except (CommandFailed, FileNotFoundError):
        return False
