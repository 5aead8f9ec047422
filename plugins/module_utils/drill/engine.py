"""The containers that a drill stops, pauses and restarts, and what puts them back whatever happens."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMMAND_SECONDS = 90.0
_HEALTHY_SECONDS = 180.0
_POLL_SECONDS = 0.5
_NO_SUCH = "no such"
# Reads one word. Without it, because whoever holds the other end was killed, it puts the containers back itself.
_GUARD = """\
read -r word
[ "$word" = done ] && exit 0
for name in "$@"; do
    docker unpause "$name"
    docker start "$name"
done
"""
_FORGET = """\
export REDISCLI_AUTH="$(cat /run/redis-secrets/password)"
redis-cli --scan --pattern '{namespace}:*' | xargs -r redis-cli unlink
"""


class EngineFailed(Exception):
    """Docker did not do what it was told. The message says what and what to do."""


class Engine:
    """Docker on this box."""

    def run(self, *words: str, timeout: float = _COMMAND_SECONDS) -> str:
        """Run ``docker`` and return what it printed.

        Raises:
            EngineFailed: it failed, is missing or took longer than ``timeout`` seconds.
        """
        command = ["docker", *words]
        try:
            done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=timeout, check=False)
        except FileNotFoundError as error:
            raise EngineFailed("docker is not installed on this box: run make apply") from error
        except subprocess.TimeoutExpired as error:
            raise EngineFailed(f"'docker {words[0]}' did not end within {timeout:g} s") from error
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or "no reason given"
            raise EngineFailed(f"'docker {words[0]} {words[-1]}' failed: {said}")
        return done.stdout

    def look(self, container: str) -> dict[str, Any]:
        """Return what Docker knows about a container.

        Raises:
            EngineFailed: there is no such container.
        """
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "container", container))[0]
        return found

    def address(self, container: str, network: str) -> str:
        """Return the address of a running container on a network.

        Raises:
            EngineFailed: it does not run, or is not on that network.
        """
        networks = self.look(container)["NetworkSettings"]["Networks"]
        address = (networks.get(network) or {}).get("IPAddress")
        if not address:
            raise EngineFailed(f"container {container} has no address on network {network}: is it running?")
        return str(address)

    def runs(self, container: str) -> bool:
        """Return whether a container is there and runs.

        Raises:
            EngineFailed: Docker does not answer.
        """
        try:
            state = self.look(container)["State"]
        except EngineFailed as error:
            if _NO_SUCH in str(error).lower():
                return False
            raise
        return bool(state["Running"] and not state["Paused"])

    def refuse_unless_running(self, container: str) -> None:
        """Do nothing for a container that runs.

        Raises:
            EngineFailed: it does not; a drill would then start what somebody has stopped.
        """
        state = self.look(container)["State"]
        if not state["Running"] or state["Paused"]:
            status = state["Status"]
            raise EngineFailed(f"container {container} is {status}, and the drill needs it: run make apply first")

    def wait_until_healthy(self, container: str, timeout: float = _HEALTHY_SECONDS) -> None:
        """Wait for a container; one without a health check only has to run.

        Raises:
            EngineFailed: it was not healthy in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            state = self.look(container)["State"]
            health = (state.get("Health") or {}).get("Status")
            if state["Running"] and health in {None, "healthy"}:
                return
            if time.monotonic() > deadline:
                raise EngineFailed(f"container {container} is not healthy {timeout:g} s after the drill put it back")
            time.sleep(_POLL_SECONDS)

    def put_back(self, containers: Sequence[str]) -> list[str]:
        """Unpause and start containers; one that is not there is left out.

        Returns:
            The containers that had to be put back.

        Raises:
            EngineFailed: one of them cannot be put back; the others were tried all the same.
        """
        outcomes = {container: self._put_back(container) for container in containers}
        wrong = [reason for _, reason in outcomes.values() if reason]
        if wrong:
            raise EngineFailed(f"{'; '.join(wrong)}. Run make apply to put everything back")
        return [container for container, (changed, _) in outcomes.items() if changed]

    def _put_back(self, container: str) -> tuple[bool, str]:
        """Return whether a container had to be put back, and what kept it from that."""
        try:
            state = self.look(container)["State"]
            if state["Paused"]:
                self.run("unpause", container)
            elif not state["Running"]:
                self.run("start", container)
            else:
                return False, ""
        except EngineFailed as error:
            return False, "" if _NO_SUCH in str(error).lower() else str(error)
        return True, ""

    @contextmanager
    def stopped(self, container: str) -> Iterator[None]:
        """Stop a container while the block runs.

        Raises:
            EngineFailed: it cannot be stopped or started.
        """
        with self._guarded(container):
            self.run("stop", container)
            yield

    @contextmanager
    def paused(self, container: str) -> Iterator[None]:
        """Freeze every process of a container while the block runs: connections stand, and nobody answers.

        Raises:
            EngineFailed: it cannot be paused or unpaused.
        """
        with self._guarded(container):
            self.run("pause", container)
            yield

    @contextmanager
    def _guarded(self, container: str) -> Iterator[None]:
        self.refuse_unless_running(container)
        # In a session of its own, so that what ends this process does not end the guard.
        with subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", container],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as guard:
            try:
                yield
            finally:
                self.put_back([container])
                guard.communicate(b"done\n")

    def restart(self, container: str) -> None:
        """Stop and start a container.

        Raises:
            EngineFailed: it cannot be restarted.
        """
        self.run("restart", container)

    def forget(self, redis: str, namespace: str) -> None:
        """Remove every key of a namespace from Redis. The password stays inside its container.

        Raises:
            EngineFailed: Redis cannot be asked.
        """
        self.run("exec", redis, "sh", "-c", _FORGET.format(namespace=namespace))
