"""Images are pinned in one place, and health checks use what the images hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.checks import images

REPOSITORY = Path(__file__).resolve().parents[2]

GOOD_PINS = f"""---
llm_images:
  # renovate: datasource=docker depName=redis
  redis:
    repository: docker.io/library/redis
    tag: 8.2.3
    digest: sha256:{"0a" * 32}
"""
GOOD_TASKS = """---
services:
  redis:
    image: "{{ redis_image }}"
    healthcheck:
      test: [CMD, redis-cli, ping]
"""


def make_repository(folder: Path, changes: dict[str, str]) -> Path:
    """Write a repository with one pin and one service, with some files changed or added."""
    files = {images.PINS: GOOD_PINS, "roles/redis/vars/main.yml": GOOD_TASKS, **changes}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("check", images.CHECKS, ids=lambda check: check.__name__)
def test_repository_keeps_the_rule(check: Callable[[Path], list[str]]) -> None:
    assert check(REPOSITORY) == []


@pytest.mark.parametrize("check", images.CHECKS, ids=lambda check: check.__name__)
def test_good_repository_passes(tmp_path: Path, check: Callable[[Path], list[str]]) -> None:
    assert check(make_repository(tmp_path, {})) == []


def health(test: str) -> str:
    """Return the good service with another health check."""
    return GOOD_TASKS.replace("[CMD, redis-cli, ping]", test)


@pytest.mark.parametrize(
    ("check", "file", "text", "says"),
    [
        (images.latest_tags, "playbooks/x.yml", "image: redis:latest\n", "playbooks/x.yml:1"),
        (images.latest_tags, "molecule/images/Dockerfile.x", "FROM redis:latest\n", "Dockerfile.x:1"),
        (images.latest_tags, images.PINS, GOOD_PINS.replace("8.2.3", "latest"), "tag: latest"),
        (images.wrong_pins, images.PINS, GOOD_PINS.replace("0a", "0", 1), "is no digest"),
        (images.wrong_pins, images.PINS, GOOD_PINS.replace("    tag: 8.2.3\n", ""), "needs a repository and a tag"),
        (images.wrong_pins, images.PINS, GOOD_PINS.replace("# renovate:", "# watched:"), "no renovate comment"),
        (
            images.wrong_pins,
            images.PINS,
            GOOD_PINS.replace("depName=redis", "depName=valkey"),
            "watches valkey",
        ),
        (images.pinned_again, "roles/redis/defaults/main.yml", "x_image: redis:8.2.3\n", "defaults/main.yml:1"),
        (images.pinned_again, "playbooks/x.yml", "with: docker.io/library/redis@sha256:0\n", "playbooks/x.yml:1"),
        (
            images.pinned_again,
            images.PINS,
            GOOD_PINS + GOOD_PINS.split("\n", 2)[2].replace("  redis:", "  cache:"),
            "docker.io/library/redis is pinned twice",
        ),
        (images.literal_images, "roles/redis/tasks/main.yml", "  image: redis\n", "tasks/main.yml:1"),
        (images.wrong_health_checks, "roles/redis/vars/main.yml", health("[CMD, curl, -f, x]"), "curl or wget"),
        (
            images.wrong_health_checks,
            "roles/redis/vars/main.yml",
            health("[CMD, get, x/health]"),
            "costs money",
        ),
        (images.wrong_health_checks, "roles/redis/vars/main.yml", health("redis-cli ping"), "write a list"),
        (
            images.wrong_health_checks,
            "roles/redis/vars/main.yml",
            GOOD_TASKS.split("    healthcheck", maxsplit=1)[0],
            "this container has no healthcheck",
        ),
        (
            images.wrong_health_checks,
            "roles/redis/templates/containers.yml.j2",
            "a:\n  healthcheck: wget x\n",
            "curl or wget",
        ),
        (images.wrong_health_checks, "roles/redis/files/check.py", 'URL = "http://x/health"\n', "costs money"),
    ],
)
def test_breach_is_found(tmp_path: Path, check: Callable[[Path], list[str]], file: str, text: str, says: str) -> None:
    assert says in "\n".join(check(make_repository(tmp_path, {file: text})))


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness", "/healthz"])
def test_cheap_health_routes_pass(tmp_path: Path, path: str) -> None:
    repository = make_repository(tmp_path, {"roles/redis/vars/main.yml": health(f"[CMD, get, 'http://x{path}']")})
    assert images.wrong_health_checks(repository) == []
