"""Tests in depth of one model: what it is declared to do, it must really do.

They cost more than a short question: a prompt as long as the declared context among them.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .asking import NoAnswer, TooLate, finish_reason, first_message, parsed, seen
from .questions import CHAT, EMBEDDINGS, ModelResult, answered, chat_body, failed, streamed, vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .asking import Gateway, Reply, StreamReply
    from .questions import Model

# A stream that comes later than this after its first text was collected on the way, whole.
LEAST_SPREAD_SECONDS = 0.005
# In an answer this short one piece may be all there is.
SHORT_ANSWER = 20
# On a busy box all of a quick model's answer may be read at once now and then; who collects streams does it each time.
STREAM_ATTEMPTS = 3
# Of the declared context this stays free for the answer, or a 200th of it where rounding comes to more.
ANSWER_TOKENS = 64
ROUNDING_SHARE = 200
# What may be lost between the tokens that were sent, as calibrated, and those that the model counted.
LEAST_COUNTED = 0.97
ALIKE = 0.999
ROUNDS_PER_BACKEND = 4
TIMEOUT_STATUSES = (408, 504)
# A run that nobody asked for a test of this model may be held up by it so long, and a box without a GPU is kept busy.
PATIENT_SECONDS = 60.0
# Some seconds on a box without a GPU.
PILOT_WORDS = 512
# Room for a model that thinks before it calls.
TOOL_TOKENS = 512
# Small models answer one in a few such questions in words, also those that can call tools.
TOOL_ATTEMPTS = 3
# Common words, each a token of its own in the vocabularies of most models.
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman")

_TOOL = "note_number"
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": _TOOL,
            "description": "Notes down one number.",
            "parameters": {
                "type": "object",
                "properties": {"number": {"type": "integer", "description": "The number."}},
                "required": ["number"],
            },
        },
    }
]


class Refuted(Exception):
    """A model does not do what it is declared to do. The message says what was seen and what to write."""


class Unknown(Exception):
    """A test that can decide neither way. The message says why."""


def prove(
    gateway: Gateway, model: Model, quick: ModelResult, *, ask_context: bool, ask_slow: bool = True
) -> ModelResult:
    """Return the result of a model with that of its tests in depth.

    Args:
        gateway: where to ask.
        model: the model and what it is declared to do.
        quick: its answer to the short question; without a right one nothing more is asked.
        ask_context: whether to send a prompt as long as the declared context.
        ask_slow: whether to send it also where it would take more than ``PATIENT_SECONDS`` or the model's timeout.
    """
    if quick.failures:
        return replace(quick, deep=True)
    result = replace(quick, deep=True)
    if model.mode == "embedding":
        return _with(result, model, "vectors", lambda: check_vectors(gateway, model, quick.dimensions))
    stream = check_counting_stream(gateway, model)
    result = replace(
        result,
        failures=result.failures + stream.failures,
        first_token_seconds=stream.first_token_seconds,
        proofs=stream.proofs,
        notes=stream.notes,
    )
    if model.tools:
        result = _with(result, model, "tools", lambda: check_tools(gateway, model))
    if model.context is not None and ask_context:
        context = model.context
        patience = None if ask_slow else min(PATIENT_SECONDS, model.timeout)
        result = _with(result, model, "context", lambda: check_context(gateway, model, context, patience))
    return result


def _with(result: ModelResult, model: Model, test: str, check: Any) -> ModelResult:
    try:
        return replace(result, proofs={**result.proofs, test: check()})
    except (NoAnswer, Refuted) as error:
        return replace(result, failures=result.failures + failed(model, [f"{test}: {error}"]).failures)
    except Unknown as error:
        return replace(result, notes=(*result.notes, f"model {model.name}: {test}: {error}"))


def check_counting_stream(gateway: Gateway, model: Model) -> ModelResult:
    """Ask for a stream long enough to see that it arrives over time, and not in one piece at its end each time."""
    collected = False

    def judge(reply: StreamReply, failures: list[str]) -> ModelResult:
        nonlocal collected
        in_one_piece = not failures and (reply.arrivals < 2 or reply.spread_seconds < LEAST_SPREAD_SECONDS)
        collected = in_one_piece and len(reply.text.strip()) >= SHORT_ANSWER
        notes: tuple[str, ...] = ()
        if in_one_piece and not collected:
            notes = (f"model {model.name}: streaming: the answer was too short to tell whether it arrives over time",)
        elif collected:
            failures.append(
                f"streaming: all {len(reply.text)} characters arrived at once after {reply.seconds:.2f} s, so "
                "something collects the stream on its way. Look for a proxy before the provider, and at the provider's "
                "own page on streaming"
            )
        result = answered(
            gateway, model, reply, failures, prefix="streaming: ", first_token_seconds=reply.first_token_seconds
        )
        if result.failures or notes:
            return replace(result, notes=notes)
        return replace(result, proofs={"stream": {"pieces": reply.arrivals, "seconds": round(reply.spread_seconds, 3)}})

    for _ in range(STREAM_ATTEMPTS):
        question = f"Count from 1 to 20, with a comma after each number. ({secrets.token_hex(4)})"
        result = streamed(gateway, model, chat_body(model.name, question, 100), judge)
        if not collected:
            break
    return result


def check_tools(gateway: Gateway, model: Model) -> dict[str, Any]:
    """Offer a tool and ask for its use, up to ``TOOL_ATTEMPTS`` times. Raises Refuted, Unknown and NoAnswer."""
    remedy = f"Write tools: false for model {model.name}, or name a model that can"
    wrong, cut = "", False
    for _ in range(TOOL_ATTEMPTS):
        reply = _ask_with_tool(gateway, model)
        if reply.status != 200:
            raise Refuted(f"a question with a tool got {seen(gateway, reply)}. {remedy}")
        called, wrong = _tool_call(gateway, reply)
        if called:
            return {"called": called}
        cut |= finish_reason(parsed(reply.body)) == "length"
    if cut:
        raise Unknown(
            f"its answer reached {TOOL_TOKENS} tokens before it called the tool, as with a model that thinks for long; "
            f"{_again(model)} once more"
        )
    raise Refuted(f"{wrong}. {remedy}")


def _ask_with_tool(gateway: Gateway, model: Model) -> Reply:
    """Ask with what most servers take, then without what some refuse: a forced call, a temperature."""
    for more in (
        {"tool_choice": "required", "temperature": 0},
        {"tool_choice": "auto", "temperature": 0},
        {"tool_choice": "required"},
        {"tool_choice": "auto"},
    ):
        question = f"Call the tool {_TOOL} with the number 7. ({secrets.token_hex(4)})"
        body = dict(chat_body(model.name, question, TOOL_TOKENS), tools=_TOOLS, **more)
        reply = gateway.ask("POST", CHAT, body, timeout=model.timeout)
        if reply.status != 400:
            break
    return reply


def _tool_call(gateway: Gateway, reply: Reply) -> tuple[str, str]:
    """Return the name of the tool that was called, or an empty one and what is wrong."""
    calls = first_message(parsed(reply.body), "message").get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls and isinstance(calls[0], dict) else {}
    function = call.get("function")
    if not isinstance(function, dict) or not function.get("name"):
        return "", "the model was offered a tool and told to call it, and did not"
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or not isinstance(parsed(arguments.encode()), dict):
        return "", f"the arguments of its tool call are no JSON object: {gateway.clean(str(arguments), 80)}"
    return gateway.clean(str(function["name"]), 60), ""


def check_vectors(gateway: Gateway, model: Model, dimensions: int | None) -> dict[str, Any]:
    """Ask for the vectors of one text twice and of another one. Raises Refuted and NoAnswer.

    In one request, since the gateway's cache may answer a text that it has seen before.
    """
    nonce = secrets.token_hex(4)
    same = f"The harbour lies quiet in winter. {nonce}"
    texts = [same, f"Seventeen invoices were posted on Monday. {nonce}", same]
    reply = gateway.ask("POST", EMBEDDINGS, {"model": model.name, "input": texts}, timeout=model.timeout)
    if reply.status != 200:
        raise Refuted(f"three texts in one question got {seen(gateway, reply)}")
    found = vectors(reply.body)
    if len(found) != len(texts):
        raise Refuted(f"three texts gave {len(found)} vectors of numbers")
    lengths = {len(vector) for vector in found} | ({dimensions} if dimensions else set())
    if len(lengths) > 1:
        raise Refuted(f"its vectors are of different lengths: {', '.join(map(str, sorted(lengths)))}")
    again, other = cosine(found[0], found[2]), cosine(found[0], found[1])
    if again < ALIKE:
        raise Refuted(f"the same text gave two different vectors (cosine {again:.4f}), so nothing can be found by them")
    if other >= ALIKE:
        raise Refuted(f"two different texts gave the same vector (cosine {other:.4f}), so nothing can be found by them")
    return {"dimensions": len(found[0]), "same_text_cosine": round(again, 6), "other_text_cosine": round(other, 6)}


def cosine(one: list[float], other: list[float]) -> float:
    """Return the cosine of the angle between two vectors; 0 when one of them has no length."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(left * right for left, right in zip(one, other)) / lengths if lengths else 0.0


class Calibration:
    """How many tokens a backend counts for a prompt of so many words, and how long it takes: from two lengths."""

    def __init__(self, short: int, long: int) -> None:
        self.lengths = (short, long)
        self._counted: dict[str, dict[int, int]] = {}
        self._seconds: dict[str, dict[int, float]] = {}

    def note(self, backend: str, words: int, tokens: int, seconds: float = 0.0) -> bool:
        """Take in what a backend reported after how many seconds, and return whether that was not known."""
        counted = self._counted.setdefault(backend, {})
        known = words in counted
        counted[words] = tokens
        # A prompt that comes again may be in the backend's memory, so only the first time counts.
        self._seconds.setdefault(backend, {}).setdefault(words, seconds)
        return not known

    def known(self) -> list[str]:
        """The backends of which both lengths are known."""
        return [backend for backend, counted in self._counted.items() if len(counted) == len(self.lengths)]

    def per_word(self, backend: str) -> float:
        """Tokens a word. Raises Unknown when more words did not count as more tokens."""
        counted = self._counted[backend]
        short, long = self.lengths
        rate = (counted[long] - counted[short]) / (long - short)
        if rate <= 0:
            raise Unknown("its backend reports as many tokens for a long prompt as for a short one")
        return rate

    def tokens(self, backend: str, words: int) -> int:
        """What a prompt of so many words comes to at a backend."""
        short = self.lengths[0]
        return round(self._counted[backend][short] + (words - short) * self.per_word(backend))

    def words(self, backend: str, tokens: int) -> int:
        """How many words make a prompt of so many tokens at a backend."""
        short = self.lengths[0]
        return short + int((tokens - self._counted[backend][short]) / self.per_word(backend))

    def seconds(self, backend: str, words: int) -> float:
        """How long a prompt of so many words takes at a backend, were each word as fast as those of the long one."""
        short, long = self.lengths
        taken = self._seconds[backend]
        per_word = max(taken[long] - taken[short], 0.0) / (long - short)
        return taken[long] + (words - long) * per_word


def check_context(gateway: Gateway, model: Model, context: int, patience: float | None = None) -> dict[str, Any]:
    """Fill the declared context and compare the tokens that the model counted with those that were sent.

    With ``patience`` it is not sent where it would take more seconds than that, as two shorter prompts before it tell.
    Raises Refuted, Unknown and NoAnswer.
    """
    short, long = 8, max(24, min(context // 8, 4096)) // 8 * 8
    if patience is not None and long > PILOT_WORDS:
        # The longer of the two prompts may be too long to wait for, too.
        pilot, _ = _measured(gateway, model, (short, PILOT_WORDS))
        _stop_where_slow(model, context, pilot, _words_that_fill(model, context, pilot), patience)
    # The longer the second one, the less its rounding counts; and it must fit whatever a word takes.
    calibration, nonce = _measured(gateway, model, (short, long))
    words = _words_that_fill(model, context, calibration)
    if patience is not None:
        _stop_where_slow(model, context, calibration, words, patience)
    return _judged(gateway, model, context, calibration, _ask_words(gateway, model, nonce, words, context), words)


def _measured(gateway: Gateway, model: Model, lengths: tuple[int, int]) -> tuple[Calibration, str]:
    """Ask with prompts of two lengths, and return what they tell and the word at their start."""
    # The same in each prompt, so that it changes nothing between them; at their start, so that no cache holds one.
    nonce = secrets.token_hex(4)
    calibration = Calibration(*lengths)
    backends = max(len(model.backends), 1)
    idle_rounds = 0
    for _ in range(ROUNDS_PER_BACKEND * backends if backends > 1 else 1):
        news = False
        for words in calibration.lengths:
            reply = _ask_words(gateway, model, nonce, words)
            if reply.status != 200:
                raise Refuted(f"a prompt of {words} words got {seen(gateway, reply)}")
            news |= calibration.note(reply.backend_id or "", words, _prompt_tokens(reply), reply.seconds)
        idle_rounds = 0 if news else idle_rounds + 1
        # A backend that is away never answers, however often the others do.
        if len(calibration.known()) == backends or (calibration.known() and idle_rounds == 2):
            break
    if not calibration.known():
        raise Unknown(f"its backends took turns, so that none was measured; {_again(model)}")
    return calibration, nonce


def _words_that_fill(model: Model, context: int, calibration: Calibration) -> int:
    room = context - max(ANSWER_TOKENS, context // ROUNDING_SHARE)
    words = min(calibration.words(backend, room) for backend in calibration.known())
    if words <= calibration.lengths[0]:
        raise Refuted(f"context: {context} leaves no room for a question. Write a larger one for model {model.name}")
    return words


def _stop_where_slow(model: Model, context: int, calibration: Calibration, words: int, patience: float) -> None:
    """Raise Unknown where a prompt of so many words takes longer than ``patience``, whichever backend it comes to."""
    expected = max(calibration.seconds(backend, words) for backend in calibration.known())
    if expected > patience:
        raise Unknown(
            f"a prompt that fills the declared {context} tokens was not tried, it would take about {expected:.0f} s; "
            f"{_again(model)}"
        )


def _again(model: Model) -> str:
    return f"make verify MODEL={model.name} tries it"


def _judged(
    gateway: Gateway, model: Model, context: int, calibration: Calibration, reply: Reply, words: int
) -> dict[str, Any]:
    backend = reply.backend_id or ""
    sent = calibration.tokens(backend if backend in calibration.known() else calibration.known()[0], words)
    smaller = f"Write a smaller context for model {model.name} in llm_models, or give its backend one of {context}"
    if reply.status in TIMEOUT_STATUSES:
        raise Refuted(_cut_by_time(model, context))
    if reply.status != 200:
        raise Refuted(f"declared are {context} tokens, but a prompt of {sent} got {seen(gateway, reply)}. {smaller}")
    if backend not in calibration.known():
        raise Unknown(f"its backends took turns, so that the one that answered was not measured; {_again(model)}")
    counted = _prompt_tokens(reply)
    if counted < LEAST_COUNTED * sent:
        raise Refuted(
            f"declared are {context} tokens, but of a prompt of {sent} only {counted} reached the model: the rest was "
            f"cut off without a word. Write context: {counted} for model {model.name} in llm_models, or give its "
            f"backend a context of {context}"
        )
    return {"declared": context, "sent": sent, "counted": counted, "seconds": round(reply.seconds, 3)}


def _cut_by_time(model: Model, context: int) -> str:
    return (
        f"a prompt that fills the declared {context} tokens was not answered within {model.timeout:g} s, which is the "
        f"model's timeout. Write a longer timeout or a smaller context for model {model.name} in llm_models"
    )


def _ask_words(gateway: Gateway, model: Model, nonce: str, words: int, context: int = 0) -> Reply:
    text = " ".join(WORDS[number % len(WORDS)] for number in range(words))
    body = chat_body(model.name, f"{nonce}. Read these words, then answer with one word: done.\n{text}", 16)
    try:
        return gateway.ask("POST", CHAT, body, timeout=model.timeout)
    except TooLate as error:
        if context:
            raise Refuted(_cut_by_time(model, context)) from error
        raise


def _prompt_tokens(reply: Reply) -> int:
    answer = parsed(reply.body)
    usage: Mapping[str, Any] | None = answer.get("usage") if isinstance(answer, dict) else None
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if not isinstance(counted, int) or isinstance(counted, bool) or counted <= 0:
        raise Unknown("the answer does not report how many tokens the prompt had")
    return counted
