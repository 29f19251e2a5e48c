"""The memory of tensors: ``flambeau.storage``.

>>> fb.storage.UntypedStorage(4).nbytes()
4
"""

from __future__ import annotations

from typing import TypeAlias

from flambeau.core.storage_methods import LEGACY
from flambeau.core.storages import TypedStorage, UntypedStorage

#: Either kind.
Storage: TypeAlias = TypedStorage | UntypedStorage
globals().update(LEGACY)

__all__ = ["TypedStorage", "UntypedStorage"]
