"""One JSON object for each request: who asked, who answered, what it cost, how long it took. Never what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

EVENT = "request"


def success_line(
    payload: Mapping[str, Any], metadata: Mapping[str, Any], asked: str | None, provider: str | None
) -> str:
    """Return the line of an answered request.

    Args:
        payload: LiteLLM's standard logging object.
        metadata: what LiteLLM's router noted about the request.
        asked: the model as the client wrote it.
        provider: who answered, in the catalog's words.
    """
    begin = _seconds(metadata.get("litellm_received_at")) or payload["startTime"]
    first_token = payload.get("completionStartTime")
    streamed = bool(payload.get("stream"))
    return _line(
        time=payload["endTime"],
        request_id=payload.get("litellm_call_id") or payload.get("id"),
        client=metadata.get("user_api_key_alias"),
        route=metadata.get("user_api_key_request_route"),
        model_asked=asked,
        model=payload.get("model_group"),
        backend=payload.get("model_id"),
        provider=provider,
        stream=streamed,
        status=200,
        result="success",
        error_class=None,
        input_tokens=int(payload.get("prompt_tokens") or 0),
        output_tokens=int(payload.get("completion_tokens") or 0),
        cost_usd=float(payload.get("response_cost") or 0.0),
        latency_seconds=round(payload["endTime"] - begin, 4),
        first_token_seconds=round(first_token - begin, 4) if streamed and first_token else None,
        cache_hit=bool(payload.get("cache_hit")),
        fallbacks=int(metadata.get("attempted_fallbacks") or 0),
    )


def error_line(
    *,
    now: float,
    begin: float | None,
    request_id: str | None,
    client: str | None,
    route: str | None,
    asked: str | None,
    streamed: bool,
    status: int,
    error_class: str,
) -> str:
    """Return the line of a request that ended in an error, also one that was refused at the door.

    Args:
        now: when it ended, in seconds since 1970.
        begin: when it came, or None where LiteLLM does not say.
        request_id: LiteLLM's id of the request.
        client: who asked, or None for a stranger.
        route: the path that was asked.
        asked: the model as the client wrote it.
        streamed: whether a stream was asked for.
        status: the HTTP status of the error.
        error_class: the kind of error, in LiteLLM's words.
    """
    return _line(
        time=now,
        request_id=request_id,
        client=client,
        route=route,
        model_asked=asked,
        model=None,
        backend=None,
        provider=None,
        stream=streamed,
        status=status,
        result="error",
        error_class=error_class,
        input_tokens=0,
        output_tokens=0,
        cost_usd=0.0,
        latency_seconds=round(now - begin, 4) if begin is not None else None,
        first_token_seconds=None,
        cache_hit=False,
        fallbacks=0,
    )


def _line(*, time: float, **fields: Any) -> str:
    stamp = datetime.fromtimestamp(time, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"event": EVENT, "time": stamp, **fields}, ensure_ascii=False)


def _seconds(moment: Any) -> float | None:
    """Return a moment in seconds since 1970; LiteLLM notes it as a number or as a datetime."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    return float(moment) if isinstance(moment, (int, float)) else None
