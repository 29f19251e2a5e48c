"""Names for the types of arguments, for annotations: ``flambeau.types``.

>>> isinstance(fb.float32, fb.types._dtype), isinstance(1.5, fb.types.Number)
(True, True)
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import IO, Any, TypeAlias

from flambeau.core.device import device as _device
from flambeau.core.dtype import DType
from flambeau.core.size import Size
from flambeau.core.storages import TypedStorage, UntypedStorage
from flambeau.core.tensor import Tensor

_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
_str, _bytes = builtins.str, builtins.bytes
_dtype: TypeAlias = DType
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_symsize: TypeAlias = Size | Sequence[int]
Device: TypeAlias = _device | str | int | None
Number: TypeAlias = int | float | bool
IntLikeType: TypeAlias = int
FloatLikeType: TypeAlias = float
BoolLikeType: TypeAlias = bool
#: Dimensions that a program traces have no type of their own here: they are ints.
py_sym_types: tuple[type, ...] = ()
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
Storage: TypeAlias = TypedStorage | UntypedStorage
_dispatchkey: TypeAlias = Any
