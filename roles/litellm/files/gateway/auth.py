"""Who may ask the gateway, for what. LiteLLM calls this for every route that needs a key."""

from __future__ import annotations

import hmac
import json
import math
from typing import TYPE_CHECKING

from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth
from litellm.proxy.common_utils.http_parsing_utils import safe_set_request_parsed_body

from gateway import service
from gateway.caller import MODEL_ASKED, Caller, note_caller
from gateway.spend import Account, next_month, utc_now
from gateway.steering import WrongBody, checked_body, client_route, without_order_headers, without_orders

if TYPE_CHECKING:
    from fastapi import Request

    from gateway.policy import Client

MODELS_ROUTE = "/models"


async def user_api_key_auth(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """Return what the owner of a key may do.

    Raises:
        ProxyException: 400, the body is no question; 401, the key is missing or wrong; 404, clients have no such route;
            429, the client's budget is used up; 503, the budget cannot be read and the gateway is told to refuse then.
    """
    from litellm.proxy.proxy_server import master_key  # noqa: PLC0415 - set only once the proxy has started

    if api_key and master_key and hmac.compare_digest(api_key.encode(), master_key.encode()):
        note_caller(Caller("admin"))
        return UserAPIKeyAuth(api_key=api_key, key_alias="admin", user_role=LitellmUserRoles.PROXY_ADMIN)
    client = service.policy.client_of_key(api_key) if api_key else None
    if client is None:
        raise ProxyException(message="The key is missing or wrong.", type="auth_error", param=None, code=401)
    note_caller(Caller(client.name))
    route = client_route(request.method, request.url.path)
    if route is None:
        raise ProxyException(message="There is no such route for clients.", type="not_found", param=None, code=404)
    asked = None
    if route != MODELS_ROUTE:
        asked = await _let_only_the_question_through(request, route)
        note_caller(Caller(client.name, asked))
        await _hold_to_budget(client)
    return UserAPIKeyAuth(
        api_key=api_key,
        key_alias=client.name,
        user_id=client.name,
        user_role=LitellmUserRoles.INTERNAL_USER,
        models=list(client.models),
        aliases={"default": client.default_model} if client.default_model else {},
        rpm_limit=client.rpm,
        tpm_limit=client.tpm,
        max_parallel_requests=client.max_parallel_requests,
        metadata={MODEL_ASKED: asked},
    )


async def _let_only_the_question_through(request: Request, route: str) -> str | None:
    """Take orders to the gateway out of a request; return the model it asks for."""
    request.scope["headers"] = without_order_headers(request.scope["headers"])
    # Some routes take the model from the query, past every check of the body.
    request.scope["query_string"] = b""
    for kept in ("_headers", "_query_params", "_url"):
        request.__dict__.pop(kept, None)
    try:
        body = checked_body(route, json.loads(await request.body() or b"{}"))
    except (WrongBody, ValueError) as error:
        message = str(error) if isinstance(error, WrongBody) else "The body is not JSON."
        raise ProxyException(message=message, type="invalid_request_error", param=None, code=400) from error
    safe_set_request_parsed_body(request, without_orders(route, body))
    model = body.get("model")
    return model if isinstance(model, str) else None


async def _hold_to_budget(client: Client) -> None:
    if client.budget is None:
        return
    account = Account("client", client.name)
    spent = (await service.spend.spent([account]))[account]
    if spent is None:
        raise ProxyException(
            message=f"The budget of client {client.name} cannot be read at the moment. Try again soon.",
            type="budget_unavailable",
            param=None,
            code=503,
            headers={"retry-after": "5"},
        )
    if spent >= client.budget.limit_usd:
        now = utc_now()
        opens = next_month(now)
        raise ProxyException(
            message=(
                f"The monthly budget of client {client.name} is used up: "
                f"{spent:.2f} of {client.budget.monthly_usd:.2f} USD. It opens again on {opens:%Y-%m-%d} at 00:00 UTC."
            ),
            type="budget_exceeded",
            param=None,
            code=429,
            headers={"retry-after": str(math.ceil((opens - now).total_seconds()))},
        )
