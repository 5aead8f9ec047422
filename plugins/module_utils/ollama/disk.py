"""How much disk the removal of models frees, when models may share their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .api import Model

# A derived model adds its parameters and its config to the size of its base: some hundred bytes.
_SIZE_OF_DIFFERENCE = 1024 * 1024


def freed_bytes(removed: Sequence[Model], kept: Sequence[Model], weights: Callable[[Model], tuple[str, ...]]) -> int:
    """Return the bytes that only the removed models need.

    Args:
        removed: the models that go.
        kept: the models that stay.
        weights: tells the files that a model is made of; asked only about models that could share them.
    """
    freed: dict[tuple[str, ...], int] = {}
    for model in removed:
        alike = [other for other in kept if abs(other.size - model.size) < _SIZE_OF_DIFFERENCE]
        files = weights(model)
        if not any(weights(other) == files for other in alike):
            freed[files] = max(freed.get(files, 0), model.size)
    return sum(freed.values())
