"""What the front door must keep shut: administrative routes, other hosts' names, and whoever has no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..box.parallel import run_all
from .asking import QUICK_SECONDS, NoAnswer, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from .asking import Gateway, Reply

# LiteLLM's own routes for administrators (litellm/proxy/_types.py, LiteLLMRoutes), and ways around a filter of paths.
CLOSED_ROUTES = (
    ("GET", "/"),
    ("GET", "/ui/"),
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("GET", "/openapi.json"),
    ("GET", "/health"),
    ("GET", "/health/readiness"),
    ("GET", "/metrics"),
    ("GET", "/model/info"),
    ("GET", "/v1/model/info"),
    ("GET", "/key/list"),
    ("GET", "/v1/../key/list"),
    ("GET", "/v1/%2e%2e/key/list"),
    ("GET", "//key/list"),
    ("GET", "/v1/models/../../key/list"),
    ("GET", "/spend/logs"),
    ("GET", "/cache/ping"),
    ("POST", "/key/generate"),
    ("POST", "/model/new"),
    ("POST", "/user/new"),
    ("POST", "/config/update"),
    ("POST", "/cache/flushall"),
)
UNKNOWN_HOST = "unknown-host.invalid"
# A server may also say that the name is not one of this connection's (RFC 9110, 15.5.20).
_REFUSES_HOST = (404, 421)
_AT_ONCE = 8


def closed_route_failures(gateway: Gateway) -> list[str]:
    """Ask every administrative route and by an unknown host's name, with a wrong key; anything but 404 is a failure."""
    questions: dict[str, Callable[[], str]] = {
        f"{method} {path}": lambda method=method, path=path: _closed(gateway, method, path)  # type: ignore[misc]
        for method, path in CLOSED_ROUTES
    }
    questions[UNKNOWN_HOST] = lambda: _unknown_host(gateway)
    return _asked(questions)


def stranger_failures(gateway: Gateway) -> list[str]:
    """Ask for the model list without a key and with a wrong one; both must be refused with 401."""
    questions = {
        "without a key": lambda: _refused(gateway, None),
        "with a wrong key": lambda: _refused(gateway, "wrong"),
    }
    return _asked(questions)


def _asked(questions: dict[str, Callable[[], str]]) -> list[str]:
    failures = []
    names = list(questions)
    for start in range(0, len(names), _AT_ONCE):
        part = {name: questions[name] for name in names[start : start + _AT_ONCE]}
        for name, outcome in run_all(part, 2 * QUICK_SECONDS + 1).items():
            failures.append(f"{name}: {outcome.error}" if outcome.error else outcome.value)
    return [failure for failure in failures if failure]


def _ask(gateway: Gateway, method: str, path: str, body: dict[str, Any] | None = None, **more: Any) -> Reply:
    """Ask, and once more where no answer comes: one lost packet is no open door. Raises NoAnswer."""
    try:
        return gateway.ask(method, path, body, **more)
    except NoAnswer:
        return gateway.ask(method, path, body, **more)


def _closed(gateway: Gateway, method: str, path: str) -> str:
    try:
        reply = _ask(gateway, method, path, {} if method == "POST" else None, key="wrong")
    except NoAnswer as error:
        return f"administrative routes: {error}"
    if reply.status == 404:
        return ""
    return (
        f"administrative routes: {method} {path} must not be found (404), but: {seen(gateway, reply)}. The ingress "
        "lets it through: run make apply, which writes its configuration anew"
    )


def _unknown_host(gateway: Gateway) -> str:
    try:
        reply = _ask(gateway, "GET", "/v1/models", key="wrong", host=UNKNOWN_HOST)
    except NoAnswer as error:
        return f"unknown host: {error}"
    if reply.status in _REFUSES_HOST:
        return ""
    return (
        f"unknown host: a request for {UNKNOWN_HOST} must not be found (404), but: {seen(gateway, reply)}. The ingress "
        "answers for names that are none of its own: run make apply, which writes its configuration anew"
    )


def _refused(gateway: Gateway, key: str | None) -> str:
    name = "without a key" if key is None else "with a wrong key"
    try:
        reply = _ask(gateway, "GET", "/v1/models", key=key)
    except NoAnswer as error:
        return f"request {name}: {error}"
    if reply.status == 401:
        return ""
    return f"request {name}: GET /v1/models must be refused with 401, but: {seen(gateway, reply)}"
