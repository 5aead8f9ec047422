"""`make suggest` on this machine: it says what fits with the inventory as it is shipped, and changes nothing."""

from __future__ import annotations

import pytest

from plugins.module_utils.box.presets import PRESETS
from plugins.module_utils.box.system import read_memory
from tests.playbooks.test_refusals import REPOSITORY, run


@pytest.mark.parametrize("mode", [[], ["--check", "--diff"]])
def test_what_fits_this_machine_is_told(mode: list[str]) -> None:
    result = run(
        "ansible-playbook",
        "-i",
        "inventory/local.yml",
        "playbooks/suggest.yml",
        *mode,
        folder=REPOSITORY,
        ANSIBLE_NOCOLOR="1",
    )
    assert result.rc == 0, result.output
    assert (result.recap("ok"), result.recap("changed")) == (2, 0)
    assert f"Memory: {read_memory() / 1024**3:.1f} GiB; models may take" in result.flat
    assert "GPU: " in result.flat
    commands = [f"cp {preset.path} group_vars/all/models.yml" for preset in PRESETS]
    advice = [*commands, "No preset fits: the smallest, cpu-8gb, takes"]
    assert sum(text in result.flat for text in advice) == 1
