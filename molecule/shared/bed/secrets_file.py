"""Random values for the vault of disposable boxes."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

import yaml

from bed.layout import Layout

LENGTH = 48
PROVIDER_KEYS = ("vault_openai_api_key", "vault_anthropic_api_key")


def random_secrets() -> dict[str, str]:
    """A fresh value for every secret the gateway needs; the provider stand-ins accept the provider keys."""
    return {
        "vault_litellm_master_key": f"sk-{_random()}",
        "vault_redis_password": _random(),
        **{name: f"sk-{_random()}" for name in PROVIDER_KEYS},
    }


def ensure_secrets(layout: Layout) -> None:
    """Writes the secrets once, readable by their owner alone, and the environment file of the provider stand-ins."""
    if not layout.secrets.exists():
        _write_private(layout.secrets, yaml.safe_dump(random_secrets()))
    if not layout.provider_keys.exists():
        values: dict[str, str] = yaml.safe_load(layout.secrets.read_text())
        accepted = ",".join(values[name] for name in PROVIDER_KEYS)
        _write_private(layout.provider_keys, f"PROVIDER_KEYS={accepted}\n")


def _random() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(LENGTH))


def _write_private(path: Path, text: str) -> None:
    # Complete or absent, also when interrupted, and never readable by others.
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(path)
