"""Types that TorchScript's annotations use."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035  # these are the names asked for

from flambeau.core.tensor import Tensor

__all__ = [
    "Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Dict", "List", "Optional", "Tensor", "Tuple",
    "Union",
]  # fmt: skip


class _Broadcasting:
    """A list of a fixed length that one number may stand for: ``BroadcastingList2[int]``."""

    def __getitem__(self, item: Any) -> Any:  # Any: an annotation
        return Union[item, list[item]]  # noqa: UP007  # item is a value


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _Broadcasting()
