"""Which errors go on to the next model of a chain."""

from __future__ import annotations

# The client's own mistakes: no other model would answer them better.
CLIENT_ERRORS = frozenset({400, 409, 413, 415, 422})
# An account without money is the gateway's trouble, though Anthropic answers 400 "Your credit balance is too low".
_ACCOUNT_TROUBLE = ("credit balance", "billing", "insufficient_quota", "exceeded your current quota")


def falls_back(status: int, message: str, *, other_for_long_prompts: bool, chosen: frozenset[int] | None) -> bool:
    """Return whether an error is worth asking the next model.

    Args:
        status: HTTP status of the error.
        message: its text.
        other_for_long_prompts: whether the prompt was too long and the catalog names a model for this case.
        chosen: the statuses a client has chosen itself, or None.
    """
    if other_for_long_prompts:
        return True
    if chosen is not None:
        return status in chosen
    return status not in CLIENT_ERRORS or any(words in message.lower() for words in _ACCOUNT_TROUBLE)
