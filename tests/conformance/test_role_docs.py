"""The pages of the roles are those that the roles come to."""

from __future__ import annotations

from pathlib import Path

from scripts import role_docs

REPOSITORY = Path(__file__).resolve().parents[2]

SPECS = """---
argument_specs:
  main:
    short_description: Keep answers
    description: [Keeps them for a while.]
    options:
      cache_size: {type: int, default: 10, description: Entries kept.}
      cache_kind: {type: str, default: "", choices: [a, b], description: Kind.}
      cache_peers:
        type: list
        elements: dict
        required: true
        description: Who else | keeps them.
        options:
          host: {type: str, required: true, description: Name.}
  clear:
    short_description: Forget all of them
"""
DEFAULTS = '---\n# More than this slows\n# the start.\ncache_size: 10\ncache_kind: ""  # a "#" is no comment\n'


def write_role(repository: Path) -> None:
    """Write a small role into an empty repository."""
    for name, text in {"meta/argument_specs.yml": SPECS, "defaults/main.yml": DEFAULTS}.items():
        path = repository / "roles/cache" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")


def test_committed_pages_are_current() -> None:
    assert role_docs.stale_pages(REPOSITORY) == [], "run scripts/role_docs.py"


def test_page_has_every_variable_with_its_reason(tmp_path: Path) -> None:
    write_role(tmp_path)
    page = role_docs.pages(tmp_path)[Path("docs/roles/cache.md")]
    assert "| `cache_size` | int | `10` | Entries kept. | More than this slows the start. |" in page
    assert '| `cache_kind` | str | `""` | Kind. One of `a`, `b`. | a "#" is no comment |' in page
    assert "| `cache_peers` | list of dict | **required** | Who else \\| keeps them. |  |" in page
    assert "| `cache_peers[].host` | str | **required** | Name. |  |" in page
    assert "## `tasks_from: clear`\n\nForget all of them.\n\nIt takes no variables." in page


def test_readme_leads_to_the_page(tmp_path: Path) -> None:
    write_role(tmp_path)
    readme = role_docs.pages(tmp_path)[Path("roles/cache/README.md")]
    assert "Keep answers. Keeps them for a while." in readme
    assert "(../../docs/roles/cache.md)" in readme


def test_stale_and_left_over_pages_are_named(tmp_path: Path) -> None:
    write_role(tmp_path)
    assert role_docs.stale_pages(tmp_path) == ["docs/roles/cache.md", "roles/cache/README.md"]
    for path, text in role_docs.pages(tmp_path).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert role_docs.stale_pages(tmp_path) == []
    (tmp_path / "docs/roles/gone.md").write_text("old", encoding="utf-8")
    (tmp_path / "roles/cache/README.md").write_text("old", encoding="utf-8")
    assert role_docs.stale_pages(tmp_path) == ["roles/cache/README.md", "docs/roles/gone.md"]
