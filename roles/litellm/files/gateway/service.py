"""The one policy and the one spend store of this process, which `auth` and `hooks` share."""

from __future__ import annotations

import os

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.policy import load_policy
from gateway.spend import SpendStore

# Seconds; as for LiteLLM's own connections.
_REDIS_TIMEOUT = 0.2

policy = load_policy()
spend = SpendStore(
    Redis(
        host=policy.redis_host,
        port=policy.redis_port,
        password=os.environ["REDIS_PASSWORD"],
        socket_timeout=_REDIS_TIMEOUT,
        socket_connect_timeout=_REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    ),
    policy.namespace,
    only_if_sure=policy.refuse_without_redis,
)
