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
    "llm_budget_unavailable": "open",
    "llm_sentry_dsn": "",
    "llm_monitoring_networks": [],
    "llm_tls": "internal",
    "llm_hosts": [],
    "llm_tls_email": "",
    "llm_tls_certificate": "",
    "llm_tls_key": "",
    "llm_tls_ca": "",
    "llm_retry_in_flight": False,
    "llm_allow_overcommit": False,
    "llm_gpu": "auto",
    "llm_gpu_devices": [],
    "llm_drain_seconds": 120,
}
IMAGES: dict[str, Any] = {
    "litellm": {"repository": "ghcr.io/berriai/litellm", "tag": "v1.108.10", "digest": ""},
    "caddy": {"repository": "docker.io/library/caddy", "tag": "2.11.4", "digest": ""},
    "ollama": {"repository": "docker.io/ollama/ollama", "tag": "0.34.2", "digest": ""},
    "llamacpp": {"repository": "ghcr.io/ggml-org/llama.cpp", "tag": "server-b10868", "digest": ""},
    "redis": {"repository": "docker.io/library/redis", "tag": "8.2.3", "digest": "sha256:" + "0" * 64},
}
KNOWN_PRICES = {
    "anthropic": frozenset({"claude-opus-4-5"}),
    "openai": frozenset({"gpt-5.4", "ft:gpt-4o"}),
    "gemini": frozenset({"gemini-3-flash"}),
    "together_ai": frozenset({"deepseek-ai/deepseek-v3"}),
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
CLIENT_KEYS = [f"client-key-{letter}-0123456789abcdefghij" for letter in "abc"]
# Every key of the catalog at work.
EVERYTHING: dict[str, Any] = {
    "providers": {
        **PROVIDERS,
        "anthropic": {"api_key": "sk-ant-key", "monthly_budget_usd": 100, "fallback_at_percent": 80},
        "openrouter": {"api_key": "sk-or-key", "monthly_budget_usd": 12.5},
    },
    "models": [
        {
            **MODELS[0],
            "backends": [
                {"provider": "anthropic", "model": "claude-opus-4-5", "rpm": 100, "tpm": 100000},
                {
                    "provider": "openrouter",
                    "model": "meta/llama-5",
                    "price": {"input_per_million_usd": 3, "output_per_million_usd": 15},
                },
            ],
            "on_context_overflow": "general",
            "cache_ttl": 3600,
        },
        MODELS[1],
        {**MODELS[2], "context": 16384, "resident": True, "tools": True},
        {**MODELS[3], "cache_ttl": 600},
    ],
    "default_fallbacks": ["local"],
    "clients": [
        {
            "name": "chat-ui",
            "keys": CLIENT_KEYS[:2],
            "models": ["local", "smart"],
            "default_model": "smart",
            "fallback_model": "local",
            "fallback_on": [400, 401],
            "rpm": 100,
            "tpm": 100000,
            "max_parallel_requests": 4,
            "monthly_budget_usd": 20,
        },
        {"name": "laptop", "key": CLIENT_KEYS[2]},
    ],
    "settings": {"llm_sentry_dsn": "https://key@sentry.lan/4", "llm_budget_unavailable": "closed"},
}
ROLES = (Role("litellm", ("litellm_port", "litellm_image")), Role("redis", ("redis_maxmemory",)))


def declaration(**changes: Any) -> Declaration:
    """Return a declaration without mistakes, with some parts replaced."""
    settings = {**SETTINGS, **changes.pop("settings", {})}
    parts: dict[str, Any] = {
        "providers": PROVIDERS,
        "models": MODELS,
        "default_fallbacks": [],
        "clients": [],
        "images": IMAGES,
        "gateway_box": "box",
        "gateway_boxes": ("box",),
        "ollama_boxes": ("box",),
        "ollama_address": "http://ollama:11434",
        "redis_host": "redis",
        "variable_names": ("llm_port", "litellm_port", "ansible_host"),
        "roles": ROLES,
        "known_prices": KNOWN_PRICES,
    }
    return Declaration(settings=settings, **{**parts, **changes})
