"""Declarations that the tests of the catalog start from."""

from __future__ import annotations

from typing import Any

from plugins.module_utils.catalog.plan import Declaration
from plugins.module_utils.catalog.settings import Role

SETTINGS: dict[str, Any] = {
    "llm_bind_address": "127.0.0.1",
    "llm_port": 4000,
    "llm_master_key": "sk-" + "Abcdefgh1234567890ijklmnopqrstuvwxyz",
    "llm_redis_password": "9876543210zyxwvutsrqponmlkjihgfedcba",
    "llm_deploy_dir": "/opt/llm-gateway",
    "llm_data_dir": "/var/lib/llm-gateway",
    "llm_models_dir": "/var/lib/llm-gateway/ollama",
    "llm_network": "llm-gateway",
    "llm_verify_paid": False,
    "llm_secure_logging": True,
}
IMAGES: dict[str, Any] = {
    "litellm": {"repository": "ghcr.io/berriai/litellm", "tag": "v1.108.10", "digest": ""},
    "ollama": {"repository": "docker.io/ollama/ollama", "tag": "0.34.2", "digest": ""},
    "redis": {"repository": "docker.io/library/redis", "tag": "8.2.3", "digest": "sha256:" + "0" * 64},
}
PROVIDERS: dict[str, Any] = {
    "anthropic": {"api_key": "sk-ant-key"},
    "openai": {"api_key": "sk-openai-key"},
    "llamacpp": {"kind": "openai_compatible", "api_base": "http://10.0.0.7:8080/v1/"},
}
MODELS: list[Any] = [
    {
        "name": "smart",
        "backends": [{"provider": "anthropic", "model": "claude-opus-4-5"}],
        "fallbacks": ["general", "local"],
        "timeout": 90,
        "first_token_timeout": 10,
    },
    {
        "name": "general",
        "backends": [{"provider": "openai", "model": "gpt-5.4"}, {"provider": "llamacpp", "model": "qwen3-30b"}],
        "fallbacks": ["local"],
    },
    {"name": "local", "backends": [{"provider": "ollama", "model": "qwen3.5:2b"}]},
    {"name": "embed", "mode": "embedding", "backends": [{"provider": "ollama", "model": "nomic-embed-text"}]},
]
ROLES = (Role("litellm", ("litellm_port", "litellm_image")), Role("redis", ("redis_maxmemory",)))


def declaration(**changes: Any) -> Declaration:
    """Return a declaration without mistakes, with some parts replaced."""
    settings = {**SETTINGS, **changes.pop("settings", {})}
    parts: dict[str, Any] = {
        "providers": PROVIDERS,
        "models": MODELS,
        "images": IMAGES,
        "gateway_box": "box",
        "gateway_boxes": ("box",),
        "ollama_boxes": ("box",),
        "ollama_address": "http://ollama:11434",
        "redis_host": "redis",
        "variable_names": ("llm_port", "litellm_port", "ansible_host"),
        "roles": ROLES,
    }
    return Declaration(settings=settings, **{**parts, **changes})
