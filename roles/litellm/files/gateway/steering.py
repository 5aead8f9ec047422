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
# As many texts as OpenAI allows; more of them keep a replica busy for many seconds. So long a talk nobody has.
_MAX_ITEMS = {"/embeddings": 2048}
_MAX_MESSAGES = 10_000
# LiteLLM's cache does not look at these, and would take questions that differ in them for the same one.
_NOT_IN_CACHE_KEYS = _LOCAL_SAMPLING | {"input_type", "truncate"}
# A list of texts costs more to look up than a small model needs to embed it.
_MAX_CACHED_ITEMS = 100


class WrongBody(ValueError):
    """A body that no model could answer; the message says what is wrong with it."""


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


def checked_body(route: str, body: Any) -> dict[str, Any]:
    """Return a body whose coarse shape is right; LiteLLM would take a wrong one for a failure of the backend.

    Args:
        route: what ``client_route`` returned.
        body: the parsed body.

    Raises:
        WrongBody: it is no object, or its question is neither text nor a list of the right things.
    """
    if not isinstance(body, dict):
        raise WrongBody("The body must be a JSON object.")
    messages = body.get("messages", [])
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise WrongBody("messages must be a list of objects.")
    asked = body.get("input", "")
    if not isinstance(asked, (str, list)):
        raise WrongBody("input must be text or a list.")
    longest = _MAX_ITEMS.get(route, _MAX_MESSAGES)
    for name, value in (("messages", messages), ("input", asked)):
        if isinstance(value, list) and len(value) > longest:
            raise WrongBody(f"{name} has {len(value)} entries, {longest} at most. Send them in several requests.")
    return body


def may_be_cached(question: Mapping[str, Any]) -> bool:
    """Return whether LiteLLM's cache tells a question from every other one, and is worth asking."""
    asked = question.get("input")
    short = not isinstance(asked, list) or len(asked) <= _MAX_CACHED_ITEMS
    return short and not any(name in question for name in _NOT_IN_CACHE_KEYS)


def without_order_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an ASGI request without LiteLLM's own orders, such as ``x-litellm-timeout``."""
    return [(name, value) for name, value in headers if not name.lower().startswith((b"x-litellm-", b"litellm-"))]
