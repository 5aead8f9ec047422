"""Questions to a running LiteLLM gateway, each with what a right answer is.

Every check returns a typed result with the failures it found, as sentences for the person who runs the playbook.
GET /health is never asked: it calls every model, and paid ones cost money (LiteLLM, litellm/proxy/health_endpoints).
"""

from __future__ import annotations

import http.client
import json
import math
import re
import secrets
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BACKEND_HEADER = "x-litellm-model-id"
QUICK_SECONDS = 10.0
POLL_SECONDS = 0.5
ERROR_LENGTH = 300
TEXT_LENGTH = 60
LARGEST_ANSWER = 8 * 1024 * 1024
REDIS_POLL_SECONDS = 2.0
NOT_CHOSEN = "not asked"
REDIS_HINT = (
    "Until it does, the states of circuit breakers and the limits are each replica's own. "
    "Look at: docker logs llm-gateway-redis"
)
# LiteLLM registers it with its callback `prometheus` (litellm/integrations/prometheus.py).
REQUESTS_METRIC = b"litellm_proxy_total_requests_metric_total"

_KEY_LIKE = re.compile(r"sk-[A-Za-z0-9_*.-]{4,}|(?i:bearer)\s+\S+")


class NoAnswer(Exception):
    """The gateway gave no usable HTTP answer. The message is a sentence for the user."""


@dataclass(frozen=True)
class Backend:
    """One thing that may answer for a model: its id in LiteLLM (``model_info.id``) and words for people."""

    id: str
    description: str = ""


@dataclass(frozen=True)
class Model:
    """One model of the catalog.

    ``timeout`` (whole answer) and ``first_token_timeout`` are seconds; ``mode`` is chat or embedding.
    """

    name: str
    mode: str
    paid: bool
    timeout: float
    first_token_timeout: float | None
    backends: tuple[Backend, ...]


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; ``seconds`` is the time until it was complete."""

    status: int
    backend_id: str | None
    body: bytes
    seconds: float


@dataclass(frozen=True)
class StreamReply(Reply):
    """A streamed answer. ``error`` is the message of an error event, ``done`` whether [DONE] came last."""

    text: str = ""
    first_token_seconds: float | None = None
    done: bool = False
    error: str = ""


@dataclass(frozen=True)
class CheckResult:
    """What one check found wrong; nothing if the answer was right."""

    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListResult(CheckResult):
    """The model list: ``names`` is None when there was no usable list."""

    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ModelResult(CheckResult):
    """What became of one model. Times are seconds; ``note`` says why a model was not asked."""

    name: str = ""
    mode: str = ""
    asked: bool = True
    answered_by: str | None = None
    backend_id: str | None = None
    seconds: float | None = None
    first_token_seconds: float | None = None
    dimensions: int | None = None
    text: str | None = None
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the result for Ansible, without what does not apply."""
        keys = (
            "name",
            "mode",
            "asked",
            "answered_by",
            "backend_id",
            "seconds",
            "first_token_seconds",
            "dimensions",
            "text",
            "note",
        )
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


@dataclass
class Report:
    """All answers. ``first_token_seconds`` is that of the streamed answer, ``seconds`` of the whole check."""

    failures: list[str] = field(default_factory=list)
    models: list[ModelResult] = field(default_factory=list)
    first_token_seconds: float | None = None
    seconds: float = 0.0

    def message(self, url: str) -> str:
        """Return the failures as lines for people."""
        count = len(self.failures)
        head = f"The gateway at {url} gave {count} wrong answer{'' if count == 1 else 's'}:"
        return "\n".join([head, *(f"- {failure}" for failure in self.failures)])


class Gateway:
    """Asks one gateway over HTTP, directly and never through a proxy.

    ``log_hint`` is the command that shows the gateway's log; a network failure ends with it. Raises ValueError for a
    URL that is no plain http or https address.
    """

    def __init__(self, url: str, api_key: str, log_hint: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise ValueError(f"url: '{self._hide(url, [api_key])}' must be an address such as http://127.0.0.1:4000")
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/")
        self._class: type[http.client.HTTPConnection] = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._api_key = api_key
        self.wrong_key = "sk-wrong-" + secrets.token_hex(16)
        self._hint = f" Look at: {log_hint}" if log_hint else ""

    @staticmethod
    def _hide(text: str, keys: Sequence[str]) -> str:
        for key in keys:
            if key:
                text = text.replace(key, "(key)")
        return _KEY_LIKE.sub("(key)", text)

    def clean(self, text: str, length: int = ERROR_LENGTH) -> str:
        """Return text on one line, without anything that is or looks like a key, cut to ``length`` characters."""
        line = " ".join(self._hide(text, [self._api_key, self.wrong_key]).split())
        return line if len(line) <= length else line[: length - 3] + "..."

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = "own",
        timeout: float = QUICK_SECONDS,
    ) -> Reply:
        """Ask and read the whole answer.

        Args:
            method: HTTP method.
            path: path below the gateway's URL.
            body: sent as JSON.
            key: "own", "wrong", or None to send no key.
            timeout: seconds for everything from the connection to the last byte.

        Raises:
            NoAnswer: the network or the gateway gave no complete HTTP answer in time.
        """
        started = time.monotonic()
        late = f"no answer within {timeout:.3g} s"
        with self._open(method, path, body, key, timeout, late) as (response, sock):
            content = b""
            part = _next_part(response, sock, started + timeout)
            while part:
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise NoAnswer(f"{method} {path}: the answer is larger than {LARGEST_ANSWER} bytes")
                part = _next_part(response, sock, started + timeout)
            return Reply(response.status, response.getheader(BACKEND_HEADER), content, time.monotonic() - started)

    def ask_stream(
        self, path: str, body: dict[str, Any], timeout: float, first_token_timeout: float | None
    ) -> StreamReply:
        """Ask for a stream of server-sent events and read it to its end.

        Args:
            path: path below the gateway's URL.
            body: sent as JSON.
            timeout: seconds for everything.
            first_token_timeout: seconds until the first text; None for ``timeout``.

        Raises:
            NoAnswer: as in ``ask``, or no first text in time.
        """
        started = time.monotonic()
        first_limit = timeout if first_token_timeout is None else min(first_token_timeout, timeout)
        late = f"no first token within {first_limit:g} s"
        events = _EventReader()
        first: float | None = None
        raw = b""
        with self._open("POST", path, body, "own", first_limit, late) as (response, sock):
            while not events.done:
                try:
                    part = _next_part(response, sock, started + (first_limit if first is None else timeout))
                except socket.timeout as error:
                    if first is None:
                        raise
                    raise NoAnswer(f"POST {path}: the stream did not end within {timeout:g} s.{self._hint}") from error
                if response.status == 200:
                    events.feed(part or b"\n")
                else:
                    raw = (raw + part)[:LARGEST_ANSWER]
                if first is None and events.text:
                    first = time.monotonic() - started
                if not part:
                    break
            return StreamReply(
                response.status,
                response.getheader(BACKEND_HEADER),
                raw,
                time.monotonic() - started,
                text=events.text,
                first_token_seconds=first,
                done=events.done,
                error=events.error,
            )

    @contextmanager
    def _open(
        self, method: str, path: str, body: dict[str, Any] | None, key: str | None, timeout: float, late: str
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Send a request, give the answer with its headers read, and turn every network error into NoAnswer.

        ``late`` says what did not come in time when the socket runs into its time limit.
        """
        headers = {"Accept": "application/json", "Connection": "close"}
        if key is not None:
            headers["Authorization"] = "Bearer " + (self._api_key if key == "own" else self.wrong_key)
        payload = None
        if body is not None:
            payload = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        deadline = time.monotonic() + timeout
        connection = self._class(self._host, self._port, timeout=timeout)
        place = f"{method} {path}"
        try:
            connection.connect()
            sock = connection.sock
            connection.request(method, self._base + path, body=payload, headers=headers)
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            with connection.getresponse() as response:
                yield response, sock
        except socket.timeout as error:
            raise NoAnswer(f"{place}: {late}.{self._hint}") from error
        except ConnectionRefusedError as error:
            raise NoAnswer(f"{place}: nothing listens at {self.url}.{self._hint}") from error
        except (http.client.HTTPException, OSError) as error:
            seen = self.clean(f"{type(error).__name__} {error}")
            raise NoAnswer(f"{place}: the connection to {self.url} failed ({seen}).{self._hint}") from error
        finally:
            connection.close()


@dataclass(frozen=True)
class Replica:
    """One LiteLLM behind the gateway's address; ``gateway`` asks it alone, and is None when it does not run."""

    name: str
    gateway: Gateway | None


class _EventReader:
    """Collects the text of a stream of chat completion chunks."""

    def __init__(self) -> None:
        self._rest = b""
        self.text = ""
        self.error = ""
        self.done = False

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes, which may end in the middle of a line."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            data = line.strip()
            if data.startswith(b"data:"):
                self._take(data[len(b"data:") :].strip())

    def _take(self, data: bytes) -> None:
        self.done = data == b"[DONE]"
        if self.done or not data:
            return
        try:
            event = json.loads(data)
        except ValueError:
            self.error = self.error or "an event is no JSON: " + data.decode("utf-8", "replace")
            return
        if isinstance(event, dict) and event.get("error"):
            self.error = self.error or error_message(data)
            return
        self.text += _text_of(event, "delta")


def _next_part(response: http.client.HTTPResponse, sock: socket.socket, deadline: float) -> bytes:
    """Return the next bytes, empty at the end; socket.timeout at ``deadline``, however slowly an answer drips."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise socket.timeout("timed out")
    if response.isclosed():
        # The socket went with the last byte of an answer that says `Connection: close`, as uvicorn's do.
        return b""
    sock.settimeout(remaining)
    return response.read1(65536)


def _json(body: bytes) -> Any:
    """Return the parsed body, or None if it is no JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def _text_of(answer: Any, part: str) -> str:
    """Return the text of the first choice; a thinking model may spend a short answer on its reasoning alone."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    message = choices[0].get(part) if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if not isinstance(message, dict):
        return ""
    found = [message.get(key) for key in ("content", "reasoning_content", "reasoning")]
    return next((text for text in found if isinstance(text, str) and text), "")


def error_message(body: bytes) -> str:
    """Return the message in an error body (OpenAI's and FastAPI's forms), else the body's own text."""
    answer = _json(body)
    found = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else None
    if isinstance(found, dict):
        found = found.get("message")
    return found if isinstance(found, str) and found else body.decode("utf-8", "replace")


def wait_until_ready(gateway: Gateway, replicas: Sequence[Replica], timeout: float) -> tuple[bool, CheckResult]:
    """Wait up to ``timeout`` seconds until the gateway answers and every replica is ready.

    Returns whether the gateway answered, and what is wrong.
    """
    deadline = time.monotonic() + timeout
    running = {replica.name: replica.gateway for replica in replicas if replica.gateway is not None}
    # What does not run has no address, which waiting would not give it.
    stopped = tuple(f"replica {replica.name}: does not run" for replica in replicas if replica.gateway is None)
    while True:
        limit = max(min(QUICK_SECONDS, deadline - time.monotonic()), POLL_SECONDS)
        try:
            found = check_liveliness(gateway, limit).failures
            reached = True
        except NoAnswer as error:
            found = (str(error),)
            reached = False
        for name, replica in running.items():
            found += check_readiness(name, replica, limit).failures
        remaining = deadline - time.monotonic()
        if not found or remaining <= 0:
            waited = tuple(f"{failure} (waited {timeout:g} s)" for failure in found)
            return reached, CheckResult(stopped + waited)
        time.sleep(min(POLL_SECONDS, remaining))


def check_liveliness(gateway: Gateway, timeout: float) -> CheckResult:
    """Ask whether anything answers at all. Raises NoAnswer."""
    reply = gateway.ask("GET", "/health/liveliness", key=None, timeout=timeout)
    if reply.status == 200:
        return CheckResult()
    return CheckResult((f"liveliness: {_seen(gateway, reply)}",))


def check_readiness(name: str, replica: Gateway, timeout: float) -> CheckResult:
    """Ask a replica whether it is ready for requests. Says nothing about Redis: LiteLLM stays ready without it."""
    try:
        reply = replica.ask("GET", "/health/readiness", key=None, timeout=timeout)
    except NoAnswer as error:
        return CheckResult((f"replica {name}: {error}",))
    answer = _json(reply.body)
    state = answer.get("status") if isinstance(answer, dict) else None
    if reply.status == 200 and state in ("healthy", "connected"):
        return CheckResult()
    return CheckResult((f"replica {name}: readiness: {_seen(replica, reply)}",))


def check_redis(replicas: Sequence[Replica], timeout: float) -> CheckResult:
    """Ask for up to ``timeout`` seconds whether each replica reaches Redis, which its readiness does not tell.

    An answer below 500, such as a refused key, does not change by waiting and is not asked for again.
    """
    deadline = time.monotonic() + timeout
    final: list[str] = []
    waiting = {replica.name: replica.gateway for replica in replicas if replica.gateway is not None}
    while waiting:
        limit = max(min(QUICK_SECONDS, deadline - time.monotonic()), REDIS_POLL_SECONDS)
        away: dict[str, str] = {}
        for name, gateway in waiting.items():
            try:
                reply = gateway.ask("GET", "/cache/ping", timeout=limit)
            except NoAnswer as error:
                away[name] = str(error)
                continue
            if reply.status >= 500:
                away[name] = f"GET /cache/ping: status {reply.status}{_redis_message(gateway, reply)}"
            elif reply.status != 200:
                final.append(f"replica {name}: question about Redis: GET /cache/ping: {_seen(gateway, reply)}")
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            final += [
                f"replica {name}: does not reach Redis: {seen} (waited {timeout:g} s). {REDIS_HINT}"
                for name, seen in away.items()
            ]
            break
        waiting = {name: waiting[name] for name in away}
        if waiting:
            time.sleep(min(REDIS_POLL_SECONDS, remaining))
    return CheckResult(tuple(final))


def check_metrics(replica: Replica) -> CheckResult:
    """Ask a replica for its metrics, which want no key: the ingress decides who gets there."""
    if replica.gateway is None:
        return CheckResult()
    try:
        reply = replica.gateway.ask("GET", "/metrics/", key=None)
    except NoAnswer as error:
        return CheckResult((f"replica {replica.name}: metrics: {error}",))
    seen = ""
    if reply.status != 200:
        seen = f"GET /metrics/: {_seen(replica.gateway, reply)}"
    elif REQUESTS_METRIC not in reply.body:
        seen = f"GET /metrics/ lacks {REQUESTS_METRIC.decode()}"
    return CheckResult((f"replica {replica.name}: LiteLLM started without metrics: {seen}",) if seen else ())


def _redis_message(gateway: Gateway, reply: Reply) -> str:
    """Return the message without the settings of Redis after it (LiteLLM, litellm/proxy/caching_routes.py)."""
    details = _json(error_message(reply.body).encode())
    said = details.get("message") if isinstance(details, dict) else None
    return f", {gateway.clean(said)}" if isinstance(said, str) and said else ""


def check_refusal(gateway: Gateway, key: str | None, model: Model | None) -> CheckResult:
    """Ask the model list and a completion without a key (None) or with a wrong one ("wrong"); both must be refused.

    The completion names a model that costs nothing and allows no fallback, so that an open gateway spends no money.
    """
    named, without = (
        ("answers without a key", "without a key") if key is None else ("accepts a wrong key", "with a wrong key")
    )
    body = _completion(model.name if model is not None else "no-such-model", max_tokens=1)
    failures: list[str] = []
    for method, path, question, timeout in (
        ("GET", "/v1/models", None, QUICK_SECONDS),
        ("POST", "/v1/chat/completions", body, model.timeout if model is not None else QUICK_SECONDS),
    ):
        try:
            reply = gateway.ask(method, path, question, key=key, timeout=timeout)
        except NoAnswer as error:
            failures.append(f"request {without}: {error}")
            continue
        if reply.status < 400:
            failures.append(f"{named}: {method} {path} gave status {reply.status} instead of 401")
        elif reply.status != 401:
            failures.append(
                f"request {without}: {method} {path} must be refused with 401, but: {_seen(gateway, reply)}"
            )
    return CheckResult(tuple(failures))


def check_model_list(gateway: Gateway, models: Sequence[Model]) -> ListResult:
    """Compare the gateway's model list with the catalog."""
    try:
        reply = gateway.ask("GET", "/v1/models")
    except NoAnswer as error:
        return ListResult((f"model list: {error}",))
    answer = _json(reply.body)
    data = answer.get("data") if isinstance(answer, dict) else None
    if reply.status != 200 or not isinstance(data, list):
        return ListResult((f"model list: GET /v1/models: {_seen(gateway, reply)}",))
    names = {str(item.get("id")) for item in data if isinstance(item, dict)}
    expected = {model.name for model in models}
    failures = []
    if expected - names:
        failures.append("model list: missing {}".format(", ".join(sorted(expected - names))))
    if names - expected:
        failures.append("model list: {} not in the catalog".format(gateway.clean(", ".join(sorted(names - expected)))))
    return ListResult(tuple(failures), tuple(sorted(names)))


def check_completion(gateway: Gateway, model: Model) -> ModelResult:
    """Ask one chat model for a short answer from its own backend."""
    try:
        reply = gateway.ask("POST", "/v1/chat/completions", _completion(model.name), timeout=model.timeout)
    except NoAnswer as error:
        return _failed(model, [str(error)])
    if reply.status != 200:
        return _failed(model, [_seen(gateway, reply)])
    text = _text_of(_json(reply.body), "message").strip()
    failures = [] if text else ["the answer holds no text"]
    return _answered(gateway, model, reply, failures, text=text)


def check_stream(gateway: Gateway, model: Model) -> ModelResult:
    """Ask one chat model for a streamed answer, and time its first token."""
    body = dict(_completion(model.name), stream=True)
    try:
        reply = gateway.ask_stream("/v1/chat/completions", body, model.timeout, model.first_token_timeout)
    except NoAnswer as error:
        return _failed(model, [f"streaming: {error}"])
    if reply.status != 200:
        return _failed(model, [f"streaming: {_seen(gateway, reply)}"])
    failures = []
    if reply.error:
        failures.append(f"streaming: the stream broke off with an error: {gateway.clean(reply.error)}")
    elif not reply.text.strip():
        failures.append("streaming: the answer holds no text")
    if not reply.done:
        failures.append("streaming: the stream ended without [DONE]")
    return _answered(
        gateway,
        model,
        reply,
        failures,
        prefix="streaming: ",
        text=reply.text.strip(),
        first_token_seconds=reply.first_token_seconds,
    )


def check_embedding(gateway: Gateway, model: Model) -> ModelResult:
    """Ask one embedding model for a vector."""
    body = {"model": model.name, "input": "A short question. " + secrets.token_hex(4)}
    try:
        reply = gateway.ask("POST", "/v1/embeddings", body, timeout=model.timeout)
    except NoAnswer as error:
        return _failed(model, [str(error)])
    if reply.status != 200:
        return _failed(model, [_seen(gateway, reply)])
    answer = _json(reply.body)
    data = answer.get("data") if isinstance(answer, dict) else None
    first = data[0] if isinstance(data, list) and data else None
    vector = first.get("embedding") if isinstance(first, dict) else None
    numbers = isinstance(vector, list) and bool(vector) and all(_is_number(value) for value in vector)
    failures = [] if numbers else ["the answer holds no vector of numbers"]
    return _answered(
        gateway, model, reply, failures, dimensions=len(vector) if isinstance(vector, list) and numbers else None
    )


def run_checks(
    gateway: Gateway,
    replicas: Sequence[Replica],
    models: Sequence[Model],
    *,
    ask_paid: bool,
    ask_metrics: bool,
    ready_timeout: float,
    redis_timeout: float | None,
    only: Sequence[str] = (),
) -> Report:
    """Ask everything and return all wrong answers. Stops early only when nothing answers at the gateway's address.

    Both times are seconds; ``redis_timeout`` is None for a gateway without Redis. ``only`` names the models to ask,
    also when they cost money; nothing there leaves that to ``ask_paid``.
    """
    started = time.monotonic()
    report = Report()
    reached, readiness = wait_until_ready(gateway, replicas, ready_timeout)
    report.failures.extend(readiness.failures)
    if reached:
        if redis_timeout is not None:
            report.failures.extend(check_redis(replicas, redis_timeout).failures)
        free_chat = next((model for model in models if model.mode == "chat" and not model.paid), None)
        for key in (None, "wrong"):
            report.failures.extend(check_refusal(gateway, key, free_chat).failures)
        listed = check_model_list(gateway, models)
        report.failures.extend(listed.failures)
        why_not = {model.name: _why_not(model, ask_paid, only, listed.names) for model in models}
        _ask_models(gateway, models, why_not, report)
        if ask_metrics:
            for replica in replicas:
                report.failures.extend(check_metrics(replica).failures)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _ask_models(gateway: Gateway, models: Sequence[Model], why_not: Mapping[str, str], report: Report) -> None:
    """Ask each model once, and stream from the first free chat model, or the first paid one if only those are asked."""
    chat = sorted(
        (item for item in models if item.mode == "chat" and not why_not[item.name]), key=lambda item: item.paid
    )
    for model in models:
        note = why_not[model.name]
        if note:
            report.models.append(ModelResult(name=model.name, mode=model.mode, asked=False, note=note))
            continue
        result = check_embedding(gateway, model) if model.mode == "embedding" else check_completion(gateway, model)
        report.failures.extend(result.failures)
        if chat and model is chat[0]:
            stream = check_stream(gateway, model)
            report.failures.extend(stream.failures)
            report.first_token_seconds = stream.first_token_seconds
            result = replace(result, first_token_seconds=stream.first_token_seconds)
        report.models.append(result)


def _why_not(model: Model, ask_paid: bool, only: Sequence[str], listed: tuple[str, ...] | None) -> str:
    """Return why a model is not asked, or an empty string."""
    if only and model.name not in only:
        return NOT_CHOSEN
    if listed is not None and model.name not in listed:
        return "not asked (not in the model list)"
    return "not asked (costs money)" if model.paid and not ask_paid and not only else ""


def _completion(name: str, max_tokens: int = 16) -> dict[str, Any]:
    """Return the body of a short question. The random word keeps a cached answer from standing in for the backend."""
    question = f"Answer with one word: hello. ({secrets.token_hex(4)})"
    messages = [{"role": "user", "content": question}]
    return {"model": name, "messages": messages, "max_tokens": max_tokens, "disable_fallbacks": True}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _seen(gateway: Gateway, reply: Reply) -> str:
    """Return the status and what the body says."""
    said = gateway.clean(error_message(reply.body))
    return f"status {reply.status}, {said or 'empty body'}"


def _failed(model: Model, failures: Sequence[str]) -> ModelResult:
    named = tuple(f"model {model.name}: {failure}" for failure in failures)
    return ModelResult(named, name=model.name, mode=model.mode)


def _answered(
    gateway: Gateway,
    model: Model,
    reply: Reply,
    failures: list[str],
    *,
    prefix: str = "",
    text: str | None = None,
    first_token_seconds: float | None = None,
    dimensions: int | None = None,
) -> ModelResult:
    """Return the result of an answer with status 200, after a look at which backend gave it."""
    backend = next((backend for backend in model.backends if backend.id == reply.backend_id), None)
    seen = gateway.clean(reply.backend_id) if reply.backend_id else None
    if backend is None:
        own = ", ".join(f"{item.id} ({item.description})" if item.description else item.id for item in model.backends)
        failures.append(
            "{}answered by backend {}, which is none of its own: {}".format(prefix, seen, own or "(none declared)")
            if seen
            else f"{prefix}the answer does not say which backend gave it (no header {BACKEND_HEADER})"
        )
    return ModelResult(
        _failed(model, failures).failures,
        name=model.name,
        mode=model.mode,
        answered_by=seen if backend is None else backend.description or backend.id,
        backend_id=seen,
        seconds=round(reply.seconds, 3),
        first_token_seconds=None if first_token_seconds is None else round(first_token_seconds, 3),
        dimensions=dimensions,
        text=gateway.clean(text, TEXT_LENGTH) if text else None,
    )
