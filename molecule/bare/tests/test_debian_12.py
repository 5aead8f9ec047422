"""A Debian 12 box without Docker, out of reach of Docker's own repository: refused, and left as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import on_boxes
import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

BOX = "llm-bare-bookworm"
testinfra_hosts = [f"ansible://{BOX}"]
pytestmark = pytest.mark.skipif(on_boxes.upstream(), reason="Docker's own repository is in reach")

MARK = "/srv/before"
# What a running system writes without being asked.
NOT_OURS = ("/tmp", "/var/log", "/var/tmp", "/var/lib/systemd", "/var/lib/containerd", "/etc/resolv.conf")


def mark_time(host: Host) -> None:
    """Remember this moment on the box; Ansible's own folder, which the run may make, does not count."""
    host.check_output(f"mkdir -p ~/.ansible && touch {MARK} && sleep 0.1")


def changed_files(host: Host) -> list[str]:
    """Return every file and folder of the box whose content, owner or mode was changed since the mark."""
    skipped = " -o ".join(f"-path {path}" for path in NOT_OURS)
    return host.check_output(
        f"find / -xdev \\( -name .ansible -o {skipped} \\) -prune -o -cnewer {MARK} -print"
    ).splitlines()


def assert_refused(host: Host, *texts: str, **variables: Any) -> None:
    """Run what users run, and expect a refusal that holds these texts and leaves the box as it was."""
    mark_time(host)
    packages = host.check_output("dpkg-query --show")
    run = on_boxes.play("site", "--diff", inventory="debian_12", **variables)
    assert run.rc != 0, run.output
    assert (run.recap("changed"), run.recap("failed")) == (0, 1), run.output
    flat = " ".join(run.output.split())
    for text in ("This box is not ready for the gateway; nothing has been changed on it.", *texts):
        assert text in flat, run.output
    assert [value for value in on_boxes.secrets().values() if value in run.output] == []
    assert changed_files(host) == []
    assert host.check_output("dpkg-query --show") == packages


def test_the_box_notices_a_change(host: Host) -> None:
    """The look for changed files finds one."""
    mark_time(host)
    host.check_output("touch /opt/planted")
    try:
        assert "/opt/planted" in changed_files(host)
    finally:
        host.check_output("rm /opt/planted")


def test_dockers_repository_out_of_reach_is_named_with_the_alternative(host: Host) -> None:
    assert_refused(
        host,
        "Docker is missing, and its package repository does not answer: https://download.docker.com/linux/debian",
        "or install Docker Engine with Compose v2 yourself and run again.",
    )


def test_a_missing_docker_that_may_not_be_installed(host: Host) -> None:
    assert_refused(
        host,
        "Docker is missing and docker_install is false. Install Docker Engine with Compose v2 "
        "(https://docs.docker.com/engine/install/), or set docker_install: true.",
        # As the text that `-e docker_install=false` gives.
        docker_install="false",
    )


def test_a_system_outside_the_list_is_named(host: Host) -> None:
    host.check_output("cp -P /etc/os-release /srv/os-release")
    host.check_output(
        "rm /etc/os-release && printf 'ID=alpine\\nVERSION_ID=3.22.0\\nPRETTY_NAME=Alpine\\n' > /etc/os-release"
    )
    try:
        assert_refused(host, "Alpine is not among the supported systems: ", "preflight_allow_unsupported_os: true")
    finally:
        host.check_output("rm /etc/os-release && mv /srv/os-release /etc/os-release")
