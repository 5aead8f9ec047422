"""The role's own look from outside: with the box's connection, whatever the looking machine's, and past sleepers."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.playbooks.test_refusals import REPOSITORY, run

if TYPE_CHECKING:
    from pathlib import Path

# Runs the command that it should carry to another machine right here.
SSH = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'
NO_WAY = "#!/bin/sh\necho 'ssh: connect to host laptop port 22: No route to host' >&2\nexit 255\n"
# Knows no container.
DOCKER = "#!/bin/sh\n"


@pytest.mark.parametrize(
    ("given", "slow"),
    [
        ({}, False),
        ({"verify_models": ["local"]}, True),
        ({"verify_deep": "all"}, True),
        # make models names those that changed.
        ({"verify_models": ["local"], "__llm_changes": {"ask": ["local"]}}, False),
    ],
)
def test_only_whoever_asks_for_a_test_waits_for_minutes(given: dict[str, Any], slow: bool) -> None:
    loader = DataLoader()
    (play,) = loader.load_from_file(str(REPOSITORY / "playbooks/verify.yml"), trusted_as_template=True)
    (role,) = [task for task in play["tasks"] if task["name"] == "Verify"]
    assert Templar(loader, given).template(role["vars"]["verify_slow"]) is slow


def test_the_authority_of_the_plan_reaches_those_who_check_and_the_ingress() -> None:
    loader = DataLoader()
    plan = {"address": {"ca_file": "/box.pem", "fetched_ca_file": "ca/box.crt", "authority": "/mine.pem"}}
    found: dict[tuple[str, str], Any] = {}
    for playbook in ("site", "verify", "rollback"):
        for play in loader.load_from_file(str(REPOSITORY / f"playbooks/{playbook}.yml"), trusted_as_template=True):
            for part in [*play.get("roles", []), *play.get("tasks", [])]:
                found.update({(playbook, name): value for name, value in part.get("vars", {}).items()})
    templar = Templar(loader, {"__llm_plan": plan, **plan})
    for playbook in ("verify", "rollback"):
        assert templar.template(found[playbook, "verify_ca_file"]) == "/box.pem"
        assert templar.template(found[playbook, "verify_fetched_ca_file"]) == "ca/box.crt"
    assert templar.template(found["site", "ingress_tls_ca"]) == "/mine.pem"


@pytest.fixture(name="tools")
def stand_ins(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"ssh": SSH, "no-way": NO_WAY, "docker": DOCKER}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def test_the_box_keeps_its_connection_and_a_machine_that_sleeps_is_named(tools: Path, tmp_path: Path) -> None:
    hosts: dict[str, Any] = {
        # No connection is set: ssh, as by default.
        "box": {"ansible_host": "127.0.0.1", "ansible_ssh_executable": str(tools / "ssh")},
        "laptop": {"ansible_ssh_executable": str(tools / "no-way")},
        "beside": {"ansible_connection": "local", "ansible_host": "other.test"},
    }
    inventory = {"all": {"vars": {"ansible_python_interpreter": sys.executable}, "hosts": hosts}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    variables = {
        "verify_outside_from": ["localhost", "laptop", "beside"],
        "verify_api_key": "none",
        "verify_questions": [],
        "verify_receipts_dir": str(tmp_path / "receipts"),
        "verify_scheme": "http",
        # Nothing listens there; what was seen before that stands in the receipt all the same.
        "verify_port": 9,
        "verify_ready_timeout": 1,
    }
    task = {"ansible.builtin.include_role": {"name": "homelab.llm_gateway.verify"}, "vars": variables}
    play = [{"hosts": "box", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play, sort_keys=False), encoding="utf-8")
    (tmp_path / "password").write_text("none is needed", encoding="utf-8")
    result = run(
        "ansible-playbook",
        "-i",
        str(tmp_path / "hosts.yml"),
        str(tmp_path / "play.yml"),
        folder=REPOSITORY,
        PATH=f"{tools}:{os.environ['PATH']}",
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_VAULT_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert (result.recap("unreachable"), result.recap("failed")) == (0, 1), result.output
    (path,) = (tmp_path / "receipts").iterdir()
    receipt = json.loads(path.read_text(encoding="utf-8"))
    assert [view["place"] for view in receipt["outside"]] == ["the controller", "beside"]
    # With a connection that stays on this machine the box's own addresses would have been tried.
    *looked, asleep = receipt["notes"]
    assert looked == [
        f"not reachable from {place}: no address of the box is known but loopback, so nothing was tried"
        for place in ("the controller", "beside")
    ]
    assert asleep.startswith("not reachable: laptop, so nobody has looked at the gateway from there.")
