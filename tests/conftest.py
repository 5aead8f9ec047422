"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader


@pytest.fixture(scope="session", autouse=True)
def _collections() -> None:
    """Let templates find this checkout's own filters by their full names."""
    init_plugin_loader([str(Path(__file__).parents[1] / "collections")])


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores, as the tests that run a playbook wait for it half of their time."""
    return (os.cpu_count() or 1) + 1
