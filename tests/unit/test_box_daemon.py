"""Log rotation is added to daemon.json, and nothing that the user wrote is lost, changed or shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils.box.daemon import DaemonConfigError, parse_daemon_json, with_cdi, with_log_rotation
from plugins.modules import docker_cdi, docker_log_rotation

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = st.dictionaries(st.text(min_size=1), st.text())
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "log-driver": st.sampled_from(["json-file", "local", "journald"]),
        "log-opts": OPTIONS,
        "data-root": st.text(),
    },
)


@given(CONFIGS)
def test_what_the_user_set_wins_and_a_second_run_adds_nothing(config: dict[str, Any]) -> None:
    once = with_log_rotation(config, "10m", 3)
    assert with_log_rotation(once, "10m", 3) == once
    for key, value in config.items():
        if key == "log-opts":
            assert {**once["log-opts"], **value} == once["log-opts"]
        else:
            assert once[key] == value


def test_a_driver_that_cannot_rotate_stays_alone() -> None:
    assert with_log_rotation({"log-driver": "journald"}, "10m", 3) == {"log-driver": "journald"}


@pytest.mark.parametrize("text", ["{", "[]", '{"log-opts": 3}', "nonsense"])
def test_what_docker_would_not_read_is_refused_with_the_path(text: str) -> None:
    with pytest.raises(DaemonConfigError, match=r"/etc/docker/daemon\.json"):
        parse_daemon_json(text)


def test_cdi_is_added_and_every_other_key_and_feature_stays() -> None:
    config = {"features": {"containerd-snapshotter": True, "cdi": False}, "proxies": {"http-proxy": "http://a:b@c"}}
    assert with_cdi(config) == {**config, "features": {"containerd-snapshotter": True, "cdi": True}}
    assert with_cdi({}) == {"features": {"cdi": True}}


def test_an_empty_file_is_an_empty_configuration() -> None:
    assert parse_daemon_json(" \n") == {}


def run(path: Path, capsys: pytest.CaptureFixture[str], *, check: bool = False) -> dict[str, Any]:
    """Run the module as Ansible does and return what it prints."""
    arguments = {"path": str(path), "max_size": "10m", "max_file": 3, "_ansible_check_mode": check}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        docker_log_rotation.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic.AnsibleModule, "tmpdir", str(tmp_path))


def test_the_module_writes_once_and_then_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "docker" / "daemon.json"
    assert run(path, capsys, check=True)["changed"]
    assert not path.parent.exists()
    assert run(path, capsys)["changed"]
    assert json.loads(path.read_text()) == {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}
    assert path.stat().st_mode & 0o777 == 0o644
    assert not run(path, capsys)["changed"]


def test_the_module_keeps_the_rest_and_does_not_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"proxies": {"http-proxy": "http://me:hunter2@proxy"}, "log-opts": {"max-size": "1g"}}')
    path.chmod(0o600)
    result = run(path, capsys)
    written = json.loads(path.read_text())
    assert written["proxies"] == {"http-proxy": "http://me:hunter2@proxy"}
    assert written["log-opts"] == {"max-size": "1g", "max-file": "3"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in json.dumps(result)
    assert '"max-file": "3"' in result["diff"]["after"]


def test_cdi_is_switched_on_once_and_only_the_features_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{"proxies": {"http-proxy": "http://me:hunter2@proxy"}, "features": {"buildkit": true}}')

    def switch() -> dict[str, Any]:
        with patch_module_args({"path": str(path)}), pytest.raises(SystemExit):
            docker_cdi.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    first = switch()
    assert first["changed"]
    assert first["features"] == {"buildkit": True, "cdi": True}
    assert "hunter2" not in json.dumps(first)
    assert json.loads(path.read_text())["proxies"] == {"http-proxy": "http://me:hunter2@proxy"}
    assert not switch()["changed"]


def test_the_module_leaves_a_broken_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "daemon.json"
    path.write_text("{broken")
    result = run(path, capsys)
    assert result["failed"]
    assert str(path) in result["msg"]
    assert path.read_text() == "{broken"
