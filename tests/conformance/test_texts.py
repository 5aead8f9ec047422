"""Links resolve, and no file names the machine it was written on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.checks import texts

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("check", texts.CHECKS, ids=lambda check: check.__name__)
def test_repository_keeps_the_rule(check: Callable[[Path], list[str]]) -> None:
    assert check(REPOSITORY) == []


@pytest.mark.parametrize(
    ("check", "text", "says"),
    [
        (texts.machine_paths, f"see {Path('/')}work/main\n", "page.md:1"),
        (texts.machine_paths, f"see {Path('/')}home/me/x\n", "page.md:1"),
        (texts.machine_paths, f"see https://example.org{Path('/')}work/x and ~{Path('/')}work/x\n", ""),
        (texts.package_indexes, "pip install --index" + "-url x\n", "page.md:1"),
        (texts.package_indexes, "from https://py" + "pi.org/simple\n", "page.md:1"),
        (texts.broken_links, "[a](gone.md)\n", "gone.md leads nowhere"),
        (texts.broken_links, "[a](../outside.md)\n", "../outside.md leads nowhere"),
        (texts.broken_links, "[a](other.md#no-such)\n", "no such heading"),
        (texts.broken_links, "[a](#no-such)\n", "no such heading"),
        (texts.broken_links, "[a](other.md#run-make-demo) [b](https://example.org) `[c](gone.md)`\n", ""),
        (texts.broken_links, "```\n[a](gone.md)\n```\n", ""),
    ],
)
def test_breach_is_found(tmp_path: Path, check: Callable[[Path], list[str]], text: str, says: str) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (tmp_path / "outside.md").write_text("# Outside\n", encoding="utf-8")
    (repository / "other.md").write_text("# Run `make demo`!\n", encoding="utf-8")
    (repository / "page.md").write_text(text, encoding="utf-8")
    found = "\n".join(check(repository))
    assert says in found if says else found == ""
