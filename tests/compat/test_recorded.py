"""The recorded cases answer as they did on PyTorch, where torch is flambeau."""

from __future__ import annotations

from typing import Any

from flambeau.compat import namespace
from tests import recorded


class Torch:
    """What ``import torch`` gives, beside a PyTorch that may be installed."""

    def __getattr__(self, name: str) -> Any:
        return namespace.look_up("", name)


test_as_in_pytorch = recorded.tests_of("tests/compat", Torch())
