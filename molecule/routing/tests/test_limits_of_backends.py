"""What a provider allows a minute is not exceeded: the next backend answers, then the fallback."""

from __future__ import annotations

from collections import Counter

from as_clients import ask_many
from testinfra.host import Host


def test_the_next_backend_answers_and_then_the_fallback(host: Host) -> None:
    answers = ask_many(host, "app", "limited", 14)
    assert {answer.status for answer in answers} == {200}
    backends = Counter(answer.backend for answer in answers)
    # Three a minute for each of the two; a minute may begin anew in between.
    assert backends["limited/server/gpt-a"] in range(3, 7)
    assert backends["limited/server/gpt-b"] in range(3, 7)
    assert backends["local/ollama/smollm2:135m@llm-routing-box"] >= 2
