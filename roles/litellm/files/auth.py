"""Who may ask the gateway. LiteLLM calls this for every route that needs a key."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from litellm.proxy._types import LitellmUserRoles, ProxyException, UserAPIKeyAuth

if TYPE_CHECKING:
    from fastapi import Request


async def user_api_key_auth(request: Request, api_key: str | None) -> UserAPIKeyAuth:  # noqa: ARG001 - LiteLLM passes it
    """Accept the administrator's key and nothing else.

    Raises:
        ProxyException: 401, the key is missing or wrong. Without this LiteLLM, having no database, would answer 400.
    """
    from litellm.proxy.proxy_server import master_key  # noqa: PLC0415 - set only once the proxy has started

    if api_key and master_key and hmac.compare_digest(api_key.encode(), master_key.encode()):
        return UserAPIKeyAuth(api_key=api_key, key_alias="admin", user_role=LitellmUserRoles.PROXY_ADMIN)
    raise ProxyException(message="The key is missing or wrong.", type="auth_error", param="None", code=401)
