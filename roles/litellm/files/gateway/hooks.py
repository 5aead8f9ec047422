"""The gateway's hooks in LiteLLM: budgets of providers, a cache for each client, fallback rules, the log line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.router import Router
from litellm.types.router import RouterRateLimitError
from litellm.utils import TextCompletionStreamWrapper

from gateway import leaving, service  # noqa: F401 (leaving acts by being loaded)
from gateway.caller import MODEL_ASKED, noted_caller
from gateway.fallback_rule import falls_back
from gateway.log_line import error_line, success_line
from gateway.policy import Client
from gateway.quiet_logs import keep_questions_out_of_logs
from gateway.spend import Account, next_month, utc_now
from gateway.steering import may_be_cached

_COUNTED_BY_THE_BACKEND = ("acompletion", "atext_completion")
_SPENT_BUDGETS = "gateway_spent_budgets"
_NO_CACHE = {"no-cache": True, "no-store": True}


class GatewayHooks(CustomLogger):
    """What the gateway adds to each request; LiteLLM calls these by name and by keyword."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict, call_type: str) -> dict:  # noqa: ARG002
        """Give each client a cache and a fallback of its own."""
        client = service.policy.clients.get(user_api_key_dict.key_alias or "")
        if client is None:
            # The administrator checks backends, not what is cached of them.
            data["cache"] = dict(_NO_CACHE)
            return data
        asked = str(data.get("model"))
        model = client.default_model if asked == "default" and client.default_model else asked
        lifetime = service.policy.cache_ttl.get(model)
        kept = {"namespace": f"answers:{client.name}", "ttl": lifetime}
        data["cache"] = kept if lifetime and may_be_cached(data) else dict(_NO_CACHE)
        if client.fallback_model:
            data["fallbacks"] = [{model: [client.fallback_model]}] if model != client.fallback_model else []
        if call_type in _COUNTED_BY_THE_BACKEND and data.get("stream"):
            # Else nothing is counted for streams of plain completions and those that fall from Anthropic to OpenAI.
            data["stream_options"] = {**(data.get("stream_options") or {}), "include_usage": True}
        return data

    async def async_post_call_response_headers_hook(
        self,
        data: dict,
        user_api_key_dict: Any,  # noqa: ARG002
        response: Any,
        request_headers: dict[str, str] | None = None,  # noqa: ARG002
        litellm_call_info: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, str] | None:
        """Say that embeddings come from the cache; for all else LiteLLM sets this header itself."""
        hidden = getattr(response, "_hidden_params", None) or {}
        if hidden.get("cache_hit") and not hidden.get("cache_key"):
            return {"x-litellm-cache-key": (data.get("cache") or {}).get("namespace", "")}
        return None

    async def async_filter_deployments(
        self,
        model: str,  # noqa: ARG002
        healthy_deployments: list,
        messages: list | None,  # noqa: ARG002
        request_kwargs: dict | None = None,
        parent_otel_span: Any = None,  # noqa: ARG002
    ) -> list:
        """Leave out the backends of providers whose budget is used up; where none is left the next model answers."""
        budgets = service.policy.provider_budgets
        providers = {
            _deployment_id(deployment): _provider(_deployment_id(deployment)) for deployment in healthy_deployments
        }
        accounts = {name: Account("provider", name) for name in providers.values() if name in budgets}
        if not accounts:
            return healthy_deployments
        spent = await service.spend.spent(list(accounts.values()))
        closed = {name: spent[account] for name, account in accounts.items() if _is_used_up(name, spent[account])}
        left = [one for one in healthy_deployments if providers[_deployment_id(one)] not in closed]
        if healthy_deployments and not left:
            # Nothing may be raised here: LiteLLM would count it against the breaker of the model that answers instead.
            _note_spent_budgets(request_kwargs, " ".join(_budget_message(name, usd) for name, usd in closed.items()))
        return left

    async def async_log_success_event(self, kwargs: dict, response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002
        """Count what an answer cost and write its log line."""
        payload = kwargs["standard_logging_object"]
        parameters = kwargs.get("litellm_params") or {}
        metadata = parameters.get("litellm_metadata") or parameters.get("metadata") or {}
        name, provider = metadata.get("user_api_key_alias"), _provider(payload.get("model_id"))
        asked = (metadata.get("user_api_key_metadata") or {}).get(MODEL_ASKED)
        print(success_line(payload, metadata, asked, provider), flush=True)
        cost = float(payload.get("response_cost") or 0.0)
        if cost > 0 and not payload.get("cache_hit"):
            names = {"provider": provider, "client": name}
            await service.spend.add([Account(kind, name) for kind, name in names.items() if name], cost)

    async def async_post_call_failure_hook(
        self,
        request_data: dict,
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,  # noqa: ARG002
    ) -> None:
        """Write the log line of a request that ended in an error."""
        begin = request_data.get("start_time")
        noted = noted_caller()
        client = user_api_key_dict.key_alias or noted.client
        print(
            error_line(
                now=time.time(),
                begin=begin.timestamp() if isinstance(begin, datetime) else begin,
                request_id=request_data.get("litellm_call_id"),
                client=client,
                route=user_api_key_dict.request_route,
                asked=noted.asked or _text(request_data.get("model")),
                streamed=bool(request_data.get("stream")),
                # What LiteLLM refuses before it knows the key has no status yet and becomes 401.
                status=_status(original_exception, otherwise=500 if client else 401),
                error_class=type(original_exception).__name__,
            ),
            flush=True,
        )


def _deployment_id(deployment: Mapping[str, Any]) -> str:
    return str((deployment.get("model_info") or {}).get("id"))


def _provider(deployment_id: str | None) -> str | None:
    return service.policy.deployments.get(deployment_id or "")


def _is_used_up(provider: str, spent: float | None) -> bool:
    return spent is None or spent >= service.policy.provider_budgets[provider].limit_usd


def _budget_message(provider: str, spent: float | None) -> str:
    if spent is None:
        return f"The budget of provider {provider} cannot be read at the moment."
    budget = service.policy.provider_budgets[provider]
    return (
        f"The monthly budget of provider {provider} is used up: {spent:.2f} of {budget.limit_usd:.2f} USD. "
        f"It opens again on {next_month(utc_now()):%Y-%m-%d} at 00:00 UTC."
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _status(error: Exception, otherwise: int = 500) -> int:
    for value in (getattr(error, "code", None), getattr(error, "status_code", None)):
        with suppress(ValueError):
            return int(str(value))
    return otherwise


def _metadata(request: Mapping[str, Any]) -> dict[str, Any]:
    return request.get("litellm_metadata") or request.get("metadata") or {}


def _note_spent_budgets(request: dict | None, message: str) -> None:
    if request:
        _metadata(request)[_SPENT_BUDGETS] = message


def _client_of(request: Mapping[str, Any]) -> Client | None:
    return service.policy.clients.get(_metadata(request).get("user_api_key_alias") or "")


async def _cause_of_cooldown(router: Router, model: str) -> int:
    """Return the status of the error that opened the breaker of a model, 429 where nobody knows."""
    ids = router.get_model_ids(model_name=model)
    open_now = await router.cooldown_cache.async_get_active_cooldowns(model_ids=ids, parent_otel_span=None)
    for _, cooldown in open_now:
        with suppress(TypeError, ValueError):
            return int(cooldown["status_code"])
    return 429


_fall_back = Router.async_function_with_fallbacks_common_utils


async def _fall_back_where_it_helps(
    self: Router,
    e: Exception,
    disable_fallbacks: bool | None,
    fallbacks: list | None,
    context_window_fallbacks: list | None,
    content_policy_fallbacks: list | None,
    model_group: str | None,
    args: tuple,
    kwargs: dict,
    include_fallback_errors: bool = False,
) -> Any:
    """Stand before LiteLLM's walk through the chain, which any error would start.

    LiteLLM has no setting for this; the method is its own and private, so the tests hold this to the pinned version.
    """
    client = _client_of(kwargs)
    status = _status(e)
    if isinstance(e, RouterRateLimitError) and model_group:
        status = await _cause_of_cooldown(self, model_group)
    budget_spent = _metadata(kwargs).pop(_SPENT_BUDGETS, None)
    worth_it = budget_spent is not None or falls_back(
        status,
        str(e),
        other_for_long_prompts=isinstance(e, litellm.ContextWindowExceededError)
        and any(model_group in chain for chain in context_window_fallbacks or ()),
        chosen=client.fallback_on if client else None,
    )
    if not worth_it:
        raise e
    try:
        return await _fall_back(
            self,
            e,
            disable_fallbacks,
            fallbacks,
            context_window_fallbacks,
            content_policy_fallbacks,
            model_group,
            args,
            kwargs,
            include_fallback_errors,
        )
    except RouterRateLimitError as refusal:
        if refusal is not e or budget_spent is None:
            raise
        raise litellm.RateLimitError(message=budget_spent, llm_provider="", model=str(model_group)) from refusal


Router.async_function_with_fallbacks_common_utils = _fall_back_where_it_helps

_blame = Router.deployment_callback_on_failure


def _blame_only_who_was_asked(
    self: Router, kwargs: dict, completion_response: Any, start_time: Any, end_time: Any
) -> bool:
    """Keep the router's own refusals away from the breakers.

    LiteLLM logs such a refusal while the next model of the chain is being asked, and books it on that one: after some
    requests past an open breaker or a spent budget the healthy fallback was closed too.
    """
    if isinstance(kwargs.get("exception"), RouterRateLimitError):
        return False
    return bool(_blame(self, kwargs, completion_response, start_time, end_time))


Router.deployment_callback_on_failure = _blame_only_who_was_asked

# LiteLLM bills a stream that the client leaves by these two, which this kind of stream keeps one level deeper.
TextCompletionStreamWrapper.chunks = property(lambda stream: stream.completion_stream.chunks)
TextCompletionStreamWrapper.messages = property(lambda stream: stream.completion_stream.messages)

keep_questions_out_of_logs()
handler = GatewayHooks()
