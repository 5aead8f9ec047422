"""What a model is declared to do is tested in depth: once for each declaration, and again when it is asked for."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from plugins.module_utils.gateway import proofs
from plugins.module_utils.gateway.proofs import Calibration, Unknown, cosine
from tests.unit.gateway_stand_in import KEY, MODELS, Runner, StandIn, model_in, served

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPLETIONS = "/v1/chat/completions"
LOCAL: dict[str, Any] = {**MODELS[1], "context": 4096, "tools": True}
EMBED = MODELS[2]
NUMBERS = tuple(f"{number}, " for number in range(1, 21))


@pytest.fixture
def gateway() -> Iterator[StandIn]:
    for server in served():
        server.behaviour.deltas = NUMBERS
        server.behaviour.pause = 0.002
        server.behaviour.names = ("local", "embed")
        yield server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], gateway: StandIn) -> Runner:
    return Runner(capsys, gateway.url)


def deep(run: Runner, *models: dict[str, Any], **options: Any) -> dict[str, Any]:
    return run(models=list(models) or [LOCAL, EMBED], deep="all", **options)


def test_a_model_that_does_all_it_is_declared_to_do(run: Runner) -> None:
    result = deep(run)
    assert result["failures"] == []
    assert result["notes"] == []
    local, embed = model_in(result, "local"), model_in(result, "embed")
    assert set(local["proofs"]) == {"stream", "tools", "context"}
    assert local["proofs"]["stream"]["pieces"] > 2
    assert 0.02 < local["proofs"]["stream"]["seconds"] < 1
    assert local["proofs"]["tools"] == {"called": "note_number"}
    context = local["proofs"]["context"]
    assert 4096 * 0.98 - 64 < context["counted"] <= 4096 - 16
    assert abs(context["counted"] - context["sent"]) <= 2
    assert local["first_token_seconds"] == result["first_token_seconds"]
    assert embed["proofs"]["vectors"]["same_text_cosine"] == 1
    assert (local["deep"], embed["deep"]) == (True, True)


def test_every_question_keeps_to_the_models_own_backends(run: Runner, gateway: StandIn) -> None:
    deep(run)
    bodies = gateway.bodies(COMPLETIONS)
    # The short one, the stream, the tool, two lengths for each backend in turn until nothing new comes, the full one.
    assert len(bodies) == 3 + 2 * 3 + 1
    assert {body["disable_fallbacks"] for body in bodies} == {True}


def test_what_is_not_declared_is_not_asked(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    result = deep(run, MODELS[1])
    assert set(model_in(result, "local")["proofs"]) == {"stream"}
    assert len(gateway.bodies(COMPLETIONS)) == 2


def test_a_model_that_does_not_answer_is_asked_nothing_more(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.replies = {COMPLETIONS: (500, "{}")}
    assert deep(run, LOCAL)["failures"] == ["model local: status 500, {}"]
    assert len(gateway.bodies(COMPLETIONS)) == 1


@pytest.mark.parametrize(("times", "proved"), [(2, True), (3, False)])
def test_a_stream_that_comes_at_once_is_asked_for_again(
    run: Runner, gateway: StandIn, times: int, proved: bool
) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.collected_times = times
    result = deep(run, LOCAL)
    assert ("stream" in result["models"][0]["proofs"], bool(result["failures"])) == (proved, not proved)
    streams = [body for body in gateway.bodies(COMPLETIONS) if body.get("stream")]
    assert len(streams) == 3


FULL = "model local: context: declared are 4096 tokens, but "
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "stream in one piece": (
        {"deltas": ("".join(NUMBERS),)},
        "model local: streaming: all 71 characters arrived at once after ",
    ),
    "stream collected on the way": (
        {"before_first_token": 0.05, "together": True},
        "model local: streaming: all 71 characters arrived at once after ",
    ),
    "prompt cut": (
        {"window": 2048},
        FULL + "of a prompt of 4032 only 2048 reached the model: the rest was cut off without a word. "
        "Write context: 2048 for model local in llm_models, or give its backend a context of 4096",
    ),
    "prompt refused": (
        {"window": 2048, "refuses_long": True},
        FULL + "a prompt of 4032 got status 400, prompt too long. Write a smaller context for model local",
    ),
    "tool not called": (
        {"tool_calls": None},
        "model local: tools: the model was offered a tool and told to call it, and did not. Write tools: false for",
    ),
    "tool called with nonsense": (
        {"tool_calls": [{"function": {"name": "note_number", "arguments": "seven"}}]},
        "model local: tools: the arguments of its tool call are no JSON object: seven. Write tools: false",
    ),
    "tool refused": (
        {"tool_choices": ()},
        "model local: tools: a question with a tool got status 400, tool_choice is not supported",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_model_that_does_not_do_it_is_reported(run: Runner, gateway: StandIn, case: str) -> None:
    change, expected = WRONG[case]
    gateway.behaviour.names = ("local",)
    for name, value in change.items():
        setattr(gateway.behaviour, name, value)
    (failure,) = deep(run, LOCAL)["failures"]
    assert failure.startswith(expected)


def test_a_prompt_that_is_nearly_whole_passes(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.window = round(4032 * 0.98)
    assert deep(run, LOCAL)["failures"] == []


def test_an_answer_too_short_to_tell_is_no_failure_and_no_proof(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.deltas = ("1",)
    result = deep(run, MODELS[1])
    assert result["failures"] == []
    assert result["notes"] == ["model local: streaming: the answer was too short to tell whether it arrives over time"]
    assert "proved_at" not in model_in(result, "local")


def test_a_server_that_knows_only_auto_may_be_asked_so(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.tool_choices = ("auto",)
    assert deep(run, {**LOCAL, "context": None})["failures"] == []


def asked_with_a_tool(gateway: StandIn) -> list[dict[str, Any]]:
    return [body for body in gateway.bodies(COMPLETIONS) if "tools" in body]


@pytest.mark.parametrize(("words", "passes"), [(2, True), (3, False)])
def test_a_model_that_now_and_then_answers_in_words_gets_three_attempts(
    run: Runner, gateway: StandIn, words: int, passes: bool
) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.words_before_call = words
    result = deep(run, {**LOCAL, "context": None})
    assert len(asked_with_a_tool(gateway)) == 3
    assert {body["temperature"] for body in asked_with_a_tool(gateway)} == {0}
    assert ([*model_in(result, "local").get("proofs", {})] == ["stream", "tools"]) is passes
    assert bool(result["failures"]) is not passes


def test_a_thought_that_is_cut_before_the_call_decides_nothing(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.tool_calls = None
    gateway.behaviour.finish_reason = "length"
    result = deep(run, {**LOCAL, "context": None})
    assert result["failures"] == []
    (note,) = result["notes"]
    assert note == (
        "model local: tools: its answer reached 512 tokens before it called the tool, as with a model that thinks for "
        "long; make verify MODEL=local tries it once more"
    )


def test_a_model_that_takes_no_temperature_may_still_call_a_tool(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.takes_temperature = False
    assert deep(run, {**LOCAL, "context": None})["failures"] == []
    assert ["temperature" in body for body in asked_with_a_tool(gateway)] == [True, True, False]


SLOW: dict[str, Any] = {**LOCAL, "tools": False}
# 4096 tokens would take about 2.5 s, the two prompts before it less than half of one.
A_TOKEN = 0.0006


@pytest.mark.parametrize(
    ("context", "limit", "timeout", "least", "most"),
    [
        (4096, 60.0, 2.0, 2, 4),
        (4096, 1.5, 30.0, 2, 4),
        # Here an eighth of it would take longer than the model may.
        (131072, 60.0, 1.0, 70, 100),
    ],
)
def test_a_prompt_that_would_take_too_long_is_not_tried_unasked(
    run: Runner,
    gateway: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    context: int,
    limit: float,
    timeout: float,
    least: int,
    most: int,
) -> None:
    monkeypatch.setattr(proofs, "PATIENT_SECONDS", limit)
    gateway.behaviour.names = ("local",)
    gateway.behaviour.turns = ["local-1"]
    gateway.behaviour.seconds_a_token = A_TOKEN
    slow = {**SLOW, "context": context, "timeout": timeout, "backends": [{"id": "local-1"}]}
    result = run(models=[slow], deep="changed")
    assert result["failures"] == []
    (note,) = result["notes"]
    found = re.fullmatch(
        rf"model local: context: a prompt that fills the declared {context} tokens was not tried, it would take about "
        r"(\d+) s; make verify MODEL=local tries it",
        note,
    )
    assert found is not None
    assert least <= int(found[1]) <= most
    assert max(len(body["messages"][0]["content"].split()) for body in gateway.bodies(COMPLETIONS)) < 600


def test_whoever_wants_to_know_gets_the_long_prompt(
    run: Runner, gateway: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "PATIENT_SECONDS", 0.0)
    gateway.behaviour.names = ("local",)
    assert len(run(models=[LOCAL], deep="changed")["notes"]) == 1
    named = run(models=[LOCAL], deep="changed", only=["local"], ask_slow=True)
    assert named["notes"] == []
    assert "context" in model_in(named, "local")["proofs"]


def test_what_could_not_be_told_is_not_tried_again_by_itself_and_still_said(
    run: Runner, gateway: StandIn, tmp_path: Path
) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.reports_usage = False
    options: dict[str, Any] = {"models": [LOCAL], "deep": "changed", "receipts_dir": str(tmp_path)}
    first, second, third = (run(**options) for _ in range(3))
    assert [model_in(result, "local")["deep"] for result in (first, second, third)] == [True, False, False]
    assert first["notes"] == second["notes"] == third["notes"] != []
    assert "proved_at" not in model_in(third, "local")
    gateway.behaviour.reports_usage = True
    named = run(**options, only=["local"])
    assert (named["notes"], model_in(named, "local")["deep"]) == ([], True)
    assert model_in(run(**options), "local")["proved_at"] == model_in(named, "local")["proved_at"]


def test_a_machine_that_could_not_be_reached_is_named(run: Runner) -> None:
    (note,) = run(unreachable=["laptop"])["notes"]
    assert note.startswith("not reachable: laptop, so nobody has looked at the gateway from there. ")


def test_a_context_that_takes_longer_than_the_models_timeout_says_so(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.hangs_over = 1000
    (failure,) = deep(run, {**LOCAL, "timeout": 0.4})["failures"]
    assert failure == (
        "model local: context: a prompt that fills the declared 4096 tokens was not answered within 0.4 s, which is "
        "the model's timeout. Write a longer timeout or a smaller context for model local in llm_models"
    )


def test_a_server_that_reports_no_tokens_proves_nothing(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.reports_usage = False
    result = deep(run, LOCAL)
    assert result["failures"] == []
    assert result["notes"] == ["model local: context: the answer does not report how many tokens the prompt had"]


def test_backends_in_turn_are_each_measured(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("local",)
    gateway.behaviour.turns = ["local-1", "local-2", "local-2"]
    result = deep(run, {**LOCAL, "tools": False})
    assert result["failures"] == []
    assert result["notes"] == []


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (lambda _: [5.0, 1.0, 0.0], "two different texts gave the same vector"),
        (lambda _: [1.0, 2.0], "its vectors are of different lengths: 2, 3"),
        (lambda _: [], "three texts gave 0 vectors of numbers"),
    ],
)
def test_vectors_that_find_nothing_are_reported(run: Runner, gateway: StandIn, vectors: Any, says: str) -> None:
    gateway.behaviour.names = ("embed",)
    gateway.behaviour.vectors = vectors
    (failure,) = deep(run, EMBED)["failures"]
    assert failure.startswith(f"model embed: vectors: {says}")


def test_a_text_must_give_the_same_vector_each_time(run: Runner, gateway: StandIn) -> None:
    gateway.behaviour.names = ("embed",)
    count = iter(range(100))
    gateway.behaviour.vectors = lambda _: [1.0, float(next(count)) * 50, 0.0]
    (failure,) = deep(run, EMBED)["failures"]
    assert failure.startswith("model embed: vectors: the same text gave two different vectors (cosine 0.01")


def test_cosine_of_what_has_no_direction_is_zero() -> None:
    assert cosine([0.0, 0.0], [1.0, 0.0]) == 0
    assert cosine([3.0, 4.0], [6.0, 8.0]) == pytest.approx(1)


def test_a_calibration_reckons_words_and_tokens_both_ways() -> None:
    calibration = Calibration(8, 200)
    calibration.note("a", 8, 20, 0.2)
    assert calibration.known() == []
    calibration.note("a", 200, 404, 2.2)
    # Again and out of the backend's memory.
    calibration.note("a", 200, 404, 0.1)
    assert calibration.seconds("a", 400) == pytest.approx(2.2 + 200 * 2 / 192)
    assert calibration.known() == ["a"]
    words = calibration.words("a", 8000)
    assert calibration.tokens("a", words) in (7999, 8000)
    calibration.note("b", 8, 20)
    calibration.note("b", 200, 20)
    with pytest.raises(Unknown, match="as many tokens for a long prompt"):
        calibration.words("b", 8000)


def receipts(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def test_a_declaration_is_tested_in_depth_once(run: Runner, tmp_path: Path) -> None:
    options: dict[str, Any] = {"models": [LOCAL, EMBED], "deep": "changed", "receipts_dir": str(tmp_path / "receipts")}
    first = run(**options)
    assert [model["deep"] for model in first["models"]] == [True, True]
    second = run(**options)
    assert [model["deep"] for model in second["models"]] == [False, False]
    assert [model["proved_at"] for model in second["models"]] == [model["proved_at"] for model in first["models"]]
    changed = run(**{**options, "models": [{**LOCAL, "context": 2048}, EMBED]})
    assert [model["deep"] for model in changed["models"]] == [True, False]
    back = run(**options)
    assert [model["deep"] for model in back["models"]] == [False, False]
    assert [model["deep"] for model in run(**{**options, "only": ["local"]})["models"]] == [True, False]


def test_a_declaration_that_failed_is_tested_again(run: Runner, gateway: StandIn, tmp_path: Path) -> None:
    options: dict[str, Any] = {"models": [LOCAL, EMBED], "deep": "changed", "receipts_dir": str(tmp_path)}
    gateway.behaviour.window = 2048
    assert run(**options)["failed"]
    gateway.behaviour.window = 100_000
    again = run(**options)
    assert [model["deep"] for model in again["models"]] == [True, False]
    assert again["failures"] == []
    gateway.behaviour.window = 2048
    assert run(**{**options, "deep": "all"})["failed"]
    # A proof that was refuted is none any more.
    assert model_in(run(**options), "local")["deep"] is True
    assert [receipt["passed"] for receipt in receipts(tmp_path)] == [False, True, False, False]
    assert receipts(tmp_path)[0]["failures"][0].startswith(FULL)


def test_a_backend_that_is_away_leaves_the_proof_alone(run: Runner, gateway: StandIn, tmp_path: Path) -> None:
    options: dict[str, Any] = {"models": [LOCAL, EMBED], "deep": "changed", "receipts_dir": str(tmp_path)}
    run(**options)
    gateway.behaviour.replies = {COMPLETIONS: (500, "{}")}
    assert run(**options)["failed"]
    gateway.behaviour.replies = {}
    assert model_in(run(**options), "local")["deep"] is False


def test_receipts_are_for_their_owner_alone_and_only_the_last_stay(
    run: Runner, gateway: StandIn, tmp_path: Path
) -> None:
    gateway.behaviour.names = ("embed",)
    folder = tmp_path / "new" / "receipts"
    options: dict[str, Any] = {"models": [EMBED], "receipts_dir": str(folder)}
    first = run(**options)["receipt"]
    written = [run(**options)["receipt"] for _ in range(20)]
    assert sorted(str(path) for path in folder.iterdir()) == written
    assert first not in written
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert KEY not in "".join(path.read_text() for path in folder.iterdir())
    (last,) = receipts(folder)[-1:]
    assert (last["version"], last["gateway"], last["passed"]) == (1, gateway.url, True)


def test_check_mode_writes_no_receipt(run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    assert run(models=[LOCAL, EMBED], receipts_dir=str(folder), _ansible_check_mode=True)["receipt"] == ""
    assert not folder.exists()


def test_a_file_that_is_no_receipt_proves_nothing(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "20261121T081500.000000Z.json").write_text("half a rec")
    (tmp_path / "20261121T081501.000000Z.json").write_text('{"version": 99, "models": [{"fingerprint": "x"}]}')
    (tmp_path / "20261121T081502.000000Z.json").write_bytes(b'{"version": 1, "models": [], "gateway": "\xff\xfe"}')
    (tmp_path / "mine.json").write_text("{}")
    assert run(models=[LOCAL, EMBED], deep="changed", receipts_dir=str(tmp_path))["failures"] == []
    assert (tmp_path / "mine.json").exists()


def test_a_receipt_that_cannot_be_written_is_a_failure(
    run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plugins.modules.gateway_check.receipts.write", full)
    result = run(models=[LOCAL, EMBED], receipts_dir=str(tmp_path))
    assert result["failures"] == [f"the receipt could not be written into {tmp_path}: No space left on device"]
    assert result["receipt"] == ""


def test_a_paid_model_is_tested_in_depth_only_by_name_and_its_context_only_on_request(
    run: Runner, gateway: StandIn
) -> None:
    smart = {**LOCAL, "name": "smart", "paid": True, "backends": [{"id": "smart-1"}]}
    gateway.behaviour.names = ("smart",)
    assert model_in(deep(run, smart), "smart")["asked"] is False
    assert model_in(deep(run, smart, ask_paid=True), "smart")["deep"] is False
    assert set(model_in(deep(run, smart, only=["smart"]), "smart")["proofs"]) == {"stream", "tools"}
    named = deep(run, smart, only=["smart"], ask_paid=True)
    assert set(model_in(named, "smart")["proofs"]) == {"stream", "tools", "context"}
