"""Random values for the vault of disposable boxes."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

import yaml

from bed.layout import Layout

LENGTH = 48
PROVIDER_KEYS = (
    "vault_openai_api_key",
    "vault_openai_api_next_key",
    "vault_anthropic_api_key",
    "vault_together_ai_api_key",
    "vault_server_api_key",
)
CLIENT_KEYS = tuple(
    f"vault_client_{name}_key"
    for name in (
        "app",
        "other",
        "changing",
        "changing_next",
        "local_only",
        "own_chain",
        "choosy",
        "few_requests",
        "few_tokens",
        "one_at_a_time",
        "poor",
        "chat_ui",
        "research",
        "sales",
        "workshop",
        "alice",
        "bob",
        "short_1",
        "short_1_next",
        "short_2",
        "short_3",
        "stream_1",
        "stream_2",
        "stream_3",
        "long_1",
        "long_2",
    )
)


def random_secrets() -> dict[str, str]:
    """A fresh value for every secret the gateway needs; the provider stand-ins accept the provider keys."""
    return {
        "vault_litellm_master_key": f"sk-{_random()}",
        "vault_litellm_master_next_key": f"sk-{_random()}",
        "vault_redis_password": _random(),
        **{name: f"sk-{_random()}" for name in (*PROVIDER_KEYS, *CLIENT_KEYS)},
    }


def ensure_secrets(layout: Layout) -> None:
    """Writes the secrets, readable by their owner alone, and the environment file of the provider stand-ins.

    What is there stays; a secret that a newer version of this file asks for is added.
    """
    there: dict[str, str] = yaml.safe_load(layout.secrets.read_text()) if layout.secrets.exists() else {}
    values = {**random_secrets(), **there}
    if values != there:
        _write_private(layout.secrets, yaml.safe_dump(values))
    accepted = f"PROVIDER_KEYS={','.join(values[name] for name in PROVIDER_KEYS)}\n"
    if not layout.provider_keys.exists() or layout.provider_keys.read_text() != accepted:
        _write_private(layout.provider_keys, accepted)


def _random() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(LENGTH))


def _write_private(path: Path, text: str) -> None:
    # Complete or absent, also when interrupted, and never readable by others.
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(path)
