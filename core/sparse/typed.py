"""The old constructors of sparse tensors by dtype: ``flambeau.sparse.FloatTensor(indices, values, size)``."""

from __future__ import annotations

from typing import Any, Final

from flambeau.core import dtype as dt
from flambeau.core.sparse.make import sparse_coo_tensor
from flambeau.core.sparse.tensor import SparseTensor


class OldType(type):
    """The class of these: they make sparse_coo tensors, of which no one is an instance by its class."""

    dtype: dt.DType

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # Any: what sparse_coo_tensor takes; a tensor
        if args and all(isinstance(n, int) for n in args):
            args = (args,)
        return sparse_coo_tensor(*args, dtype=cls.dtype, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, SparseTensor) and instance.is_sparse and instance.dtype is cls.dtype


_DTYPES: Final = {
    "BFloat16Tensor": dt.bfloat16, "ByteTensor": dt.uint8, "CharTensor": dt.int8, "DoubleTensor": dt.float64,
    "FloatTensor": dt.float32, "HalfTensor": dt.float16, "IntTensor": dt.int32, "LongTensor": dt.int64,
    "ShortTensor": dt.int16,
}  # fmt: skip
NAMES: Final = {
    name: OldType(name, (), {"dtype": dtype, "__doc__": f"sparse_coo_tensor of {dtype.name}, as old programs say it."})
    for name, dtype in _DTYPES.items()
}
