"""What of a client's request reaches LiteLLM: the model's own parameters, nothing that steers the gateway.

LiteLLM takes orders from the body and from headers: other fallbacks, another address, another client's cached answer,
a price, a made-up answer. A list of what is let through holds against orders that a later version adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SAMPLING = {
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_logprobs",
    "top_p",
    "user",
}
# Beyond OpenAI's: llama.cpp, vLLM and Ollama.
_LOCAL_SAMPLING = {
    "chat_template_kwargs",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "ignore_eos",
    "json_schema",
    "min_p",
    "min_tokens",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "repeat_last_n",
    "repeat_penalty",
    "repetition_penalty",
    "stop_token_ids",
    "structured_outputs",
    "tfs_z",
    "top_k",
    "typical_p",
}
_TOOLS = {"function_call", "functions", "parallel_tool_calls", "tool_choice", "tools"}
_CHAT = (
    _SAMPLING
    | _LOCAL_SAMPLING
    | _TOOLS
    | {
        "audio",
        "messages",
        "modalities",
        "model",
        "prediction",
        "reasoning_effort",
        "response_format",
        "service_tier",
        "thinking",
        "verbosity",
        "web_search_options",
    }
)
_COMPLETION = _SAMPLING | _LOCAL_SAMPLING | {"best_of", "echo", "model", "prompt", "suffix"}
_EMBEDDING = {"dimensions", "encoding_format", "input", "input_type", "model", "truncate", "user"}
# https://docs.anthropic.com/en/api/messages
_MESSAGES = {
    "max_tokens",
    "messages",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
}
# https://platform.openai.com/docs/api-reference/responses; without what is kept on the server from call to call.
_RESPONSES = {
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "parallel_tool_calls",
    "reasoning",
    "service_tier",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
}

ALLOWED_FIELDS = {
    "/chat/completions": _CHAT,
    "/completions": _COMPLETION,
    "/embeddings": _EMBEDDING,
    "/messages": _MESSAGES,
    "/responses": _RESPONSES,
}
_MODELS = "/models"


def client_route(method: str, path: str) -> str | None:
    """Return the route without its version when clients may use it, else None.

    Args:
        method: the HTTP method.
        path: the path of the request, such as ``/v1/chat/completions``.
    """
    route = path[3:] if path.startswith("/v1/") else path
    if method == "POST" and route in ALLOWED_FIELDS:
        return route
    if method in {"GET", "HEAD"} and route == _MODELS:
        return _MODELS
    return None


def without_orders(route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a body that describe the question itself.

    Args:
        route: what ``client_route`` returned.
        body: the parsed body.
    """
    allowed = ALLOWED_FIELDS.get(route, set())
    return {name: value for name, value in body.items() if name in allowed}


def without_order_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an ASGI request without LiteLLM's own orders, such as ``x-litellm-timeout``."""
    return [(name, value) for name, value in headers if not name.lower().startswith((b"x-litellm-", b"litellm-"))]
