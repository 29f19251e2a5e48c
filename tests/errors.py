"""What a wrong call must raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

Errors = type[BaseException] | tuple[type[BaseException], ...]


def check_error(call: Callable[[], object], error: Errors, words: Iterable[str]) -> None:
    """The call raises the error, and each of the words stands in its text."""
    with pytest.raises(error) as caught:
        call()
    missing = [w for w in words if w not in str(caught.value)]
    assert not missing, f"{missing} not in the text: {caught.value}"
