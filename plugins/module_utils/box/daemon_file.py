"""Editing Docker's daemon.json from a module: in one step, and shown without what may be secret in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from .daemon import DaemonConfigError, parse_daemon_json, render_daemon_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.module_utils.basic import AnsibleModule

Config = dict[str, Any]


def edit(
    module: AnsibleModule,
    path: Path,
    change: Callable[[Mapping[str, Any]], Config],
    shown: Callable[[Mapping[str, Any]], Config],
    subject: str,
) -> tuple[Config, dict[str, Any]]:
    """Change the file where that makes a difference, and fail the module where the file is not what Docker reads.

    Args:
        module: in check mode nothing is written.
        path: the file; it and its folder are created when they are missing.
        change: returns the configuration as it shall be.
        shown: returns the part of a configuration that may be seen.
        subject: what that part is, for the header of the difference.

    Returns:
        The part as it stands now, or would; and the module's ``changed`` and ``diff``.
    """
    try:
        before = parse_daemon_json(path.read_text(encoding="utf-8") if path.exists() else "", str(path))
    except DaemonConfigError as error:
        module.fail_json(msg=str(error))
    after = change(before)
    if after != before and not module.check_mode:
        _write(module, path, render_daemon_json(after))
    header = f"{path} ({subject})"
    diff = {
        "before_header": header,
        "after_header": header,
        "before": render_daemon_json(shown(before)),
        "after": render_daemon_json(shown(after)),
    }
    return shown(after), {"changed": after != before, "diff": diff}


def _write(module: AnsibleModule, path: Path, text: str) -> None:
    """Replace the file in one step, keeping its mode and owner; a new one is 0644."""
    existed = path.exists()
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir, delete=False) as new:
        new.write(text)
    module.atomic_move(new.name, str(path))
    if not existed:
        path.chmod(0o644)
