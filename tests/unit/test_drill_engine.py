"""Stopping containers and putting them back, with a docker that is a script."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plugins.module_utils.drill.engine import Engine, EngineFailed

REPOSITORY = Path(__file__).parents[2]
# Each container is a file that holds its state; every call but `inspect` is noted.
DOCKER = """\
#!/bin/sh
cd "$STATES"
for name; do :; done
[ "$1" = inspect ] || [ "$1" = unpause -a "$(cat "$name")" != paused ] || echo "$*" >> calls
[ "$1" = "$REFUSED" ] && { echo "planted refusal" >&2; exit 1; }
case "$1" in
    inspect)
        [ -f "$name" ] || { echo "Error: No such container: $name" >&2; exit 1; }
        state=$(cat "$name") running=true paused=false
        [ "$state" = exited ] && running=false
        [ "$state" = paused ] && paused=true
        printf '[{"State": {"Status": "%s", "Running": %s, "Paused": %s, "Health": {"Status": "%s"}},' \
            "$state" "$running" "$paused" "${HEALTH:-healthy}"
        printf '"NetworkSettings": {"Networks": {"llm-gateway": {"IPAddress": "172.18.0.9"}}}}]'
        ;;
    stop) echo exited > "$name" ;;
    pause) echo paused > "$name" ;;
    unpause) [ "$(cat "$name")" = paused ] && echo running > "$name" ;;
    start|restart) echo running > "$name" ;;
    exec) echo "$@" > executed ;;
esac
"""


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two running containers, redis and ollama."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("STATES", str(tmp_path))
    monkeypatch.setenv("REFUSED", "nothing")
    for name in ("redis", "ollama"):
        (tmp_path / name).write_text("running\n")
    return tmp_path


def state(states: Path, name: str) -> str:
    return (states / name).read_text().strip()


def calls(states: Path) -> list[str]:
    path = states / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_stops_for_a_while(states: Path) -> None:
    with Engine().stopped("redis"):
        assert state(states, "redis") == "exited"
        assert state(states, "ollama") == "running"
    assert state(states, "redis") == "running"
    assert calls(states) == ["stop redis", "start redis"]


def test_pauses_for_a_while(states: Path) -> None:
    with Engine().paused("redis"):
        assert state(states, "redis") == "paused"
    assert calls(states) == ["pause redis", "unpause redis"]


def test_puts_back_after_an_error(states: Path) -> None:
    with pytest.raises(RuntimeError, match="planted"), Engine().stopped("ollama"):
        raise RuntimeError("planted")
    assert state(states, "ollama") == "running"


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_puts_back_when_it_is_killed(states: Path, how: str) -> None:
    program = f"""
import time
from plugins.module_utils.drill.engine import Engine
with Engine().{how}("redis"):
    print("gone", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"gone\n"
        assert state(states, "redis") != "running"
        process.kill()
    deadline = time.monotonic() + 5
    while state(states, "redis") != "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state(states, "redis") == "running"


@pytest.mark.parametrize("found", ["exited", "paused"])
def test_leaves_alone_what_somebody_else_has_stopped(states: Path, found: str) -> None:
    (states / "redis").write_text(found)
    with (
        pytest.raises(EngineFailed, match=f"container redis is {found}, and the drill needs it"),
        Engine().stopped("redis"),
    ):
        pass
    assert calls(states) == []


def test_puts_back_what_an_earlier_drill_left(states: Path) -> None:
    (states / "redis").write_text("paused\n")
    (states / "ollama").write_text("exited\n")
    assert Engine().put_back(["redis", "ollama", "never-there"]) == ["redis", "ollama"]
    assert calls(states) == ["unpause redis", "start ollama"]
    assert Engine().put_back(["redis", "ollama"]) == []


def test_says_what_cannot_be_put_back_and_goes_on(states: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (states / "redis").write_text("exited\n")
    (states / "ollama").write_text("paused\n")
    monkeypatch.setenv("REFUSED", "start")
    with pytest.raises(EngineFailed, match=r"'docker start redis' failed: planted refusal\. Run make apply"):
        Engine().put_back(["redis", "ollama"])
    assert state(states, "ollama") == "running"


def test_tells_whether_a_container_runs(states: Path) -> None:
    assert Engine().runs("redis")
    assert not Engine().runs("never-there")
    (states / "redis").write_text("paused\n")
    assert not Engine().runs("redis")


@pytest.mark.usefixtures("states")
def test_knows_addresses() -> None:
    assert Engine().address("redis", "llm-gateway") == "172.18.0.9"
    with pytest.raises(EngineFailed, match="no address on network other"):
        Engine().address("redis", "other")


@pytest.mark.usefixtures("states")
def test_waits_for_health_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    Engine().wait_until_healthy("redis")
    monkeypatch.setenv("HEALTH", "unhealthy")
    with pytest.raises(EngineFailed, match="redis is not healthy"):
        Engine().wait_until_healthy("redis", timeout=0)


def test_forgets_its_own_keys_alone_and_names_no_password(states: Path) -> None:
    Engine().forget("redis", "drill")
    command = (states / "executed").read_text()
    assert "--pattern 'drill:*'" in command
    assert "cat /run/redis-secrets/password" in command


def test_says_that_docker_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineFailed, match="docker is not installed"):
        Engine().look("redis")
