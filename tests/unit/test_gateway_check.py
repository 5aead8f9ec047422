"""The module gateway_check, run in-process against a stand-in that answers as LiteLLM does."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.module_utils.gateway import asking, service
from plugins.modules import gateway_check
from tests.unit.gateway_stand_in import HINT, KEY, MODELS, REPLICA_HINT, Behaviour, Runner, StandIn, model_in, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    yield from served()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], gateway: StandIn) -> Runner:
    return Runner(capsys, gateway.url)


def test_healthy_gateway_passes_and_says_who_answered(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.before_first_token = 0.05
    result = run()
    assert result["failures"] == []
    assert [item["name"] for item in result["models"]] == ["smart", "local", "embed"]
    smart = model_in(result, "smart")
    assert smart.pop("fingerprint")
    assert smart == {
        "name": "smart",
        "mode": "chat",
        "asked": False,
        "note": "not asked (costs money)",
        "deep": False,
    }
    local, embed = model_in(result, "local"), model_in(result, "embed")
    assert (local["asked"], local["answered_by"], local["backend_id"]) == (True, "local-2", "local-2")
    assert local["text"] == "Hello there"
    assert local["first_token_seconds"] == result["first_token_seconds"]
    assert 0.05 <= result["first_token_seconds"] < result["seconds"]
    assert (embed["dimensions"], embed["answered_by"]) == (3, "embed-1")


def test_questions_are_small_and_prove_the_models_own_backend(run: Runner, gateway: StandIn) -> None:
    run()
    plain, stream = gateway.bodies("/v1/chat/completions")
    assert (plain["max_tokens"], plain["disable_fallbacks"], "stream" in plain) == (16, True, False)
    assert (stream["model"], stream["stream"], stream["disable_fallbacks"]) == ("local", True, True)
    assert plain["messages"] != stream["messages"]
    assert [path for _, path, _, _ in gateway.asked if path.startswith("/health")] == [
        "/health/liveliness",
        "/health/readiness",
    ]


def test_requests_that_must_be_refused_cannot_cost_money(run: Runner, gateway: StandIn) -> None:
    run()
    refused = [body for method, _, key, body in gateway.asked if method == "POST" and key != f"Bearer {KEY}"]
    assert [(body["model"], body["disable_fallbacks"]) for body in refused] == [("local", True), ("local", True)]
    gateway.asked.clear()
    gateway.behaviour.names = ("smart",)
    run(models=MODELS[:1])
    assert {body["model"] for method, _, _, body in gateway.asked if method == "POST"} == {"no-such-model"}


def test_paid_models_are_asked_only_on_request(run: Runner, gateway: StandIn) -> None:
    result = run(ask_paid=True)
    assert model_in(result, "smart")["answered_by"] == "anthropic claude"
    assert [body["model"] for body in gateway.bodies("/v1/chat/completions") if body.get("stream")] == ["local"]


def test_first_paid_model_streams_when_there_is_no_free_one(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("smart",)
    result = run(ask_paid=True, models=MODELS[:1])
    assert model_in(result, "smart")["first_token_seconds"] == result["first_token_seconds"]


def test_check_mode_asks_the_same(run: Runner, gateway: StandIn) -> None:
    assert run(_ansible_check_mode=True)["failures"] == []
    assert len(gateway.bodies("/v1/chat/completions")) == 2


def changed(**changes: Any) -> Callable[[Behaviour], None]:
    def change(behaviour: Behaviour) -> None:
        for name, value in changes.items():
            setattr(behaviour, name, value)

    return change


COMPLETIONS = "/v1/chat/completions"
WRONG_ANSWERS: dict[str, tuple[Callable[[Behaviour], None], list[str]]] = {
    "open to everyone": (
        changed(open_to_all=True),
        [
            "answers without a key: GET /v1/models gave status 200 instead of 401",
            "answers without a key: POST /v1/chat/completions gave status 200 instead of 401",
            "accepts a wrong key: GET /v1/models gave status 200 instead of 401",
            "accepts a wrong key: POST /v1/chat/completions gave status 200 instead of 401",
        ],
    ),
    "refused in another way": (
        changed(refusal=500),
        [
            "request without a key: GET /v1/models must be refused with 401, but: status 500, invalid key None",
            "request without a key: POST /v1/chat/completions must be refused with 401, but: status 500",
            "request with a wrong key: GET /v1/models must be refused with 401, but: status 500, invalid key (key)",
            "request with a wrong key: POST /v1/chat/completions must be refused with 401, but: status 500",
        ],
    ),
    "refused with a status of its own": (
        changed(refusal=403),
        [
            "request without a key: GET /v1/models must be refused with 401, but: status 403, invalid key None",
            "request without a key: POST /v1/chat/completions must be refused with 401, but: status 403",
            "request with a wrong key: GET /v1/models must be refused with 401, but: status 403, invalid key (key)",
            "request with a wrong key: POST /v1/chat/completions must be refused with 401, but: status 403",
        ],
    ),
    "missing and surplus models": (
        changed(names=("smart", "local", "old")),
        ["model list: missing embed", "model list: old not in the catalog"],
    ),
    "model list is no list": (
        changed(replies={"/v1/models": (200, "[]")}),
        ["model list: GET /v1/models: status 200, []"],
    ),
    "wrong backend": (
        changed(backends={"local": "other-9", "embed": "embed-1"}),
        [
            "model local: answered by backend other-9, which is none of its own: local-1 (ollama tiny on box1), local",
            "model local: streaming: answered by backend other-9, which is none of its own",
        ],
    ),
    "no backend named": (
        changed(backends={"local": "local-1"}),
        ["model embed: the answer does not say which backend gave it (no header x-litellm-model-id)"],
    ),
    "empty answer": (
        changed(message={"content": " \n"}, deltas=()),
        ["model local: the answer holds no text", "model local: streaming: the answer holds no text"],
    ),
    "stream without DONE": (
        changed(stream_end=""),
        ["model local: streaming: the stream ended without [DONE]"],
    ),
    "something after DONE is missing": (
        changed(stream_end="data: [DONE]"),
        [],
    ),
    "stream breaks off with an error": (
        changed(stream_end='data: {"error": {"message": "upstream went away"}}\n\ndata: [DONE]\n\n'),
        ["model local: streaming: the stream broke off with an error: upstream went away"],
    ),
    "stream of something else": (
        changed(stream_end="data: <html>\n\ndata: [DONE]\n\n"),
        ["model local: streaming: the stream broke off with an error: an event is no JSON: <html>"],
    ),
    "error 500 with a body": (
        changed(replies={COMPLETIONS: (500, '{"error": {"message": "no room on the GPU"}}')}),
        ["model local: status 500, no room on the GPU"],
    ),
    "error 500 when streaming": (
        changed(replies={f"stream {COMPLETIONS}": (500, '{"detail": "no stream"}')}),
        ["model local: streaming: status 500, no stream"],
    ),
    "error without a body": (changed(replies={COMPLETIONS: (502, "")}), ["model local: status 502, empty body"]),
    "answer that is no JSON": (
        changed(replies={COMPLETIONS: (200, "<html>")}),
        ["model local: the answer holds no text"],
    ),
    "no vector": (changed(vector=()), ["model embed: the answer holds no vector of numbers"]),
    "vector of text": (changed(vector="AAAA"), ["model embed: the answer holds no vector of numbers"]),
    "vector of booleans": (changed(vector=[True]), ["model embed: the answer holds no vector of numbers"]),
}


@pytest.mark.parametrize("case", WRONG_ANSWERS)
def test_wrong_answer_is_reported(run: Runner, gateway: StandIn, case: str) -> None:
    change, expected = WRONG_ANSWERS[case]
    change(gateway.behaviour)
    failures = run()["failures"]
    assert len(failures) == len(expected), failures
    for failure, begin in zip(failures, expected, strict=True):
        assert failure.startswith(begin)


def test_all_wrong_answers_come_in_one_readable_list(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.keys = ()
    gateway.behaviour.open_to_all = True
    gateway.behaviour.vector = None
    gateway.behaviour.names = ("smart", "local", "embed", "old")
    result = run()
    lines = result["msg"].splitlines()
    assert lines[0] == f"The gateway at {gateway.url} gave 6 wrong answers:"
    assert lines[1:] == [f"- {failure}" for failure in result["failures"]]


def test_model_that_is_not_listed_is_not_asked(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("smart", "embed")
    result = run()
    assert result["failures"] == ["model list: missing local"]
    assert model_in(result, "local")["note"] == "not asked (not in the model list)"
    assert gateway.bodies(COMPLETIONS) == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (COMPLETIONS, "model local: POST /v1/chat/completions: no answer within 0.2 s."),
        (f"stream {COMPLETIONS}", "model local: streaming: POST /v1/chat/completions: no first token within 0.2 s."),
        ("/v1/embeddings", "model embed: POST /v1/embeddings: no answer within 0.2 s."),
    ],
)
def test_hanging_answer_ends_at_the_models_timeout(run: Runner, gateway: StandIn, place: str, said: str) -> None:
    gateway.behaviour.hang = {place}
    models = [{**model, "timeout": 0.2} for model in MODELS]
    started = time.monotonic()
    failures = run(models=models)["failures"]
    assert time.monotonic() - started < 2
    assert f"{said} Look at: {HINT}" in failures


def test_late_first_token_is_a_failure_although_the_answer_would_come(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.before_first_token = 0.4
    models = [{**MODELS[1], "first_token_timeout": 0.1}]
    gateway.behaviour.names = ("local",)
    assert [failure.split(": ", 1)[1].split(".")[0] for failure in run(models=models)["failures"]] == [
        "streaming: POST /v1/chat/completions: no first token within 0"
    ]


def test_stream_that_drips_for_ever_ends_at_the_models_timeout(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.drip = 0.005
    gateway.behaviour.deltas = ("x",) * 1000
    gateway.behaviour.names = ("local",)
    started = time.monotonic()
    failures = run(models=[{**MODELS[1], "timeout": 1.0}])["failures"]
    assert time.monotonic() - started < 3
    assert "the stream did not end within 1 s" in failures[0]


def test_short_answer_of_a_thinking_model_counts(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.message = {"content": None, "reasoning_content": "The user wants"}
    result = run()
    assert result["failures"] == []
    assert model_in(result, "local")["text"] == "The user wants"


def test_gateway_that_is_still_starting_is_waited_for(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.starting_until = time.monotonic() + 0.2
    assert run()["failures"] == []


def test_gateway_that_never_gets_ready_is_reported_and_still_asked(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.replies = {"/health/readiness": (503, '{"status": "unhealthy"}')}
    result = run(ready_timeout=0)
    assert result["failures"] == ['replica litellm-1: readiness: status 503, {"status": "unhealthy"} (waited 0 s)']
    assert model_in(result, "local")["asked"] is True


@pytest.fixture
def quick_redis_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "REDIS_POLL_SECONDS", 0.05)


@pytest.mark.usefixtures("quick_redis_poll")
def test_redis_that_comes_back_is_waited_for(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.redis_away_times = 3
    assert run()["failures"] == []
    assert [path for _, path, _, _ in gateway.asked].count("/cache/ping") == 4


@pytest.mark.usefixtures("quick_redis_poll")
def test_redis_that_stays_away_is_reported_and_the_rest_still_asked(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.redis_away_times = 10_000
    result = run(redis_timeout=0.2)
    (failure,) = result["failures"]
    assert failure == (
        "replica litellm-1: does not reach Redis: GET /cache/ping: status 503, Service Unhealthy (waited 0.2 s). "
        "Until it does, the states of circuit breakers and the limits are each replica's own. "
        "Look at: docker logs llm-gateway-redis"
    )
    assert model_in(result, "local")["asked"] is True


@pytest.mark.parametrize(
    "body", ['{"detail": "Service Unhealthy (planted-password)"}', "", "[]", '{"error": {"message": "[]"}}']
)
def test_of_another_error_about_redis_only_the_status_is_told(run: Runner, gateway: StandIn, body: str) -> None:
    gateway.behaviour.replies = {"/cache/ping": (500, body)}
    (failure,) = run(redis_timeout=0)["failures"]
    assert failure.startswith("replica litellm-1: does not reach Redis: GET /cache/ping: status 500 (waited 0 s). ")


@pytest.mark.usefixtures("quick_redis_poll")
def test_hanging_question_about_redis_ends(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.hang = {"/cache/ping"}
    (failure,) = run(redis_timeout=0.1)["failures"]
    assert failure.startswith("replica litellm-1: does not reach Redis: GET /cache/ping: no answer within ")
    assert failure.endswith("Look at: docker logs llm-gateway-redis")


def test_refused_question_about_redis_is_not_waited_for(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.replies = {"/cache/ping": (401, '{"error": {"message": "not allowed"}}')}
    result = run(redis_timeout=60)
    assert result["failures"] == ["replica litellm-1: question about Redis: GET /cache/ping: status 401, not allowed"]
    assert result["seconds"] < 10


def test_gateway_without_redis_is_not_asked_about_it(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.redis_away_times = 10_000
    assert run(ask_redis=False)["failures"] == []
    assert "/cache/ping" not in [path for _, path, _, _ in gateway.asked]


def test_ready_status_must_be_a_known_one(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.replies = {"/health/readiness": (200, '{"status": "starting"}')}
    assert run(ready_timeout=0)["failures"][0].startswith("replica litellm-1: readiness: status 200")


def test_nothing_listening_is_one_failure_with_a_place_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    result = Runner(capsys, url)(ready_timeout=0)
    assert result["failures"] == [
        f"GET /health/liveliness: nothing listens at {url}. Look at: {HINT} (waited 0 s)",
        f"replica litellm-1: GET /health/readiness: nothing listens at {url}. Look at: {REPLICA_HINT} (waited 0 s)",
    ]
    assert result["models"] == []


def test_something_else_on_the_port_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def greet() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        result = Runner(capsys, f"http://127.0.0.1:{server.getsockname()[1]}")(ready_timeout=0)
        thread.join()
    assert "GET /health/liveliness: the connection to" in result["failures"][0]
    assert HINT in result["failures"][0]


def test_keys_in_error_bodies_are_left_out_and_long_ones_cut(run: Runner, gateway: StandIn) -> None:
    said = f"Incorrect key provided: sk-proj-ABC*****xyz9 for Bearer {KEY} {KEY} " + "long " * 200
    gateway.behaviour.replies = {COMPLETIONS: (401, json.dumps({"error": {"message": said}}))}
    (failure,) = [failure for failure in run()["failures"] if "streaming" not in failure]
    assert failure.startswith("model local: status 401, Incorrect key provided: (key) for (key) (key) long long")
    assert failure.endswith("...")
    assert len(failure) < 350


def test_key_echoed_by_a_model_is_left_out(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.message = {"content": f"Your key is {KEY}, and so on " * 5}
    text = model_in(run(), "local")["text"]
    assert text.startswith("Your key is (key), and so on")
    assert len(text) == 60


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_proxies_are_not_used(run: Runner, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    assert run()["failures"] == []


@pytest.mark.parametrize("url", ["127.0.0.1:4000", "ftp://127.0.0.1", "http://", f"http://user:{KEY}@127.0.0.1:4000"])
def test_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as") as refused:
        asking.Gateway(url, KEY)
    assert KEY not in str(refused.value)


def test_empty_key_is_refused(capsys: pytest.CaptureFixture[str], gateway: StandIn) -> None:
    arguments = {"url": gateway.url, "api_key": "", "models": MODELS, "replicas": []}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gateway_check.main()
    assert "api_key is empty" in json.loads(capsys.readouterr().out)["msg"]
    assert gateway.asked == []


def test_an_answer_whose_connection_is_gone_has_ended() -> None:
    """Newer Pythons close the socket with the last byte when the server says that it will."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        response = http.client.HTTPResponse(ours)
        response.begin()
        assert response.read() == b"ok"
    assert asking.next_part(response, ours, time.monotonic() + 5) == b""


@pytest.fixture
def second() -> Iterator[StandIn]:
    yield from served()


def both(gateway: StandIn, second: StandIn) -> list[dict[str, str]]:
    """The replicas of a gateway whose own address leads to the first of them."""
    return [{"name": "litellm-1", "url": gateway.url}, {"name": "litellm-2", "url": second.url}]


def test_each_replica_is_asked_by_itself_and_clients_questions_go_to_the_gateway(
    run: Runner, gateway: StandIn, second: StandIn
) -> None:
    assert run(replicas=both(gateway, second))["failures"] == []
    assert [path for _, path, _, _ in second.asked] == ["/health/readiness", "/cache/ping", "/metrics/"]


@pytest.mark.usefixtures("quick_redis_poll")
def test_what_is_wrong_with_one_replica_is_told_of_that_one(run: Runner, gateway: StandIn, second: StandIn) -> None:
    second.behaviour.replies = {
        "/health/readiness": (503, '{"status": "unhealthy"}'),
        "/metrics/": (404, '{"detail": "Not Found"}'),
    }
    second.behaviour.redis_away_times = 10_000
    result = run(replicas=both(gateway, second), ready_timeout=0, redis_timeout=0.1)
    assert [failure.split(" (waited")[0] for failure in result["failures"]] == [
        'replica litellm-2: readiness: status 503, {"status": "unhealthy"}',
        "replica litellm-2: does not reach Redis: GET /cache/ping: status 503, Service Unhealthy",
        "replica litellm-2: LiteLLM started without metrics: GET /metrics/: status 404, Not Found",
    ]
    assert model_in(result, "local")["asked"] is True
    # The first one has answered once and is left alone while the second is waited for.
    assert [path for _, path, _, _ in gateway.asked].count("/cache/ping") == 1


def test_a_replica_that_does_not_run_is_named_once_and_not_waited_for(run: Runner, gateway: StandIn) -> None:
    replicas = [{"name": "litellm-1", "url": gateway.url}, {"name": "litellm-2", "url": ""}]
    result = run(replicas=replicas, ready_timeout=60)
    assert result["failures"] == ["replica litellm-2: does not run"]
    assert result["seconds"] < 10


def test_metrics_without_the_counter_of_requests_are_none(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.replies = {"/metrics/": (200, "python_info 1.0\n")}
    expected = (
        "replica litellm-1: LiteLLM started without metrics: "
        "GET /metrics/ lacks litellm_proxy_total_requests_metric_total"
    )
    assert run()["failures"] == [expected]
    assert run(ask_metrics=False)["failures"] == []


def test_metrics_are_asked_after_the_questions_that_they_count(run: Runner, gateway: StandIn) -> None:
    run()
    assert gateway.asked[-1][:3] == ("GET", "/metrics/", None)


def test_a_wrong_address_of_a_replica_is_refused(capsys: pytest.CaptureFixture[str], gateway: StandIn) -> None:
    arguments = {
        "url": gateway.url,
        "api_key": KEY,
        "models": MODELS,
        "replicas": [{"name": "litellm-1", "url": "172.18.0.5:4000"}],
    }
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gateway_check.main()
    assert "must be an address such as" in json.loads(capsys.readouterr().out)["msg"]


def test_a_chosen_model_is_asked_alone_also_when_it_costs_money(run: Runner, gateway: StandIn) -> None:
    result = run(only=["smart"])
    assert result["failures"] == []
    assert [(item["name"], item["asked"], item.get("note")) for item in result["models"]] == [
        ("smart", True, None),
        ("local", False, "not asked"),
        ("embed", False, "not asked"),
    ]
    assert {body["model"] for body in gateway.bodies("/v1/chat/completions")} == {"smart"}
    assert gateway.bodies("/v1/embeddings") == []


def test_a_chosen_model_that_is_none_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str], gateway: StandIn
) -> None:
    arguments = {"url": gateway.url, "api_key": KEY, "models": MODELS, "replicas": [], "only": ["smrt"]}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gateway_check.main()
    message = json.loads(capsys.readouterr().out)["msg"]
    assert message == "the catalog has no model smrt, so nothing was asked. Known: embed, local, smart"
    assert gateway.asked == []
