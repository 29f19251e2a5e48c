"""What the names in PyTorch's files stand for: rebuilding of tensors, containers, numbers. Nothing else is known."""

from __future__ import annotations

import inspect
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.creation import empty
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.memory_format import strided
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor
from flambeau.nn.parameter import Parameter
from flambeau.utils.pickled.machine import Called, Internal, Machine, Pending, Wrong
from flambeau.utils.trusted import constraints

_CONSTRAINTS: Final = "torch.distributions.constraints."
_MAX_RANGE: Final = 1 << 62
_MAX_DIMENSIONS: Final = 64


@dataclass(frozen=True)
class StorageClass(Internal):
    """What a class of storages stands for: the dtype of its elements, None where it is bytes of no dtype."""

    dtype: DType | None


@dataclass(frozen=True)
class Stored(Internal):
    """A storage that the stream speaks of."""

    key: str
    dtype: DType | None
    location: str
    count: int  # elements; bytes where there is no dtype
    start: int = 0  # of the part that is meant, in elements
    name = "a storage"

    @property
    def nbytes(self) -> int:
        return self.count * (1 if self.dtype is None else self.dtype.itemsize)


#: From a storage, a dtype, and shape, strides and offset in elements to the tensor.
MakeTensor = Callable[[Stored, DType, tuple[int, ...], tuple[int, ...], int], Tensor]

_STORAGES: Final = {
    "Float": dt.float32, "Double": dt.float64, "Half": dt.float16, "BFloat16": dt.bfloat16, "Long": dt.int64,
    "Int": dt.int32, "Short": dt.int16, "Char": dt.int8, "Byte": dt.uint8, "Bool": dt.bool_,
    "ComplexFloat": dt.complex64, "ComplexDouble": dt.complex128,
}  # fmt: skip
_DTYPES: Final = {f"torch.{d.name}": d for d in dt.ALL}


class Names:
    """The table for one file. ``tensor`` makes tensors of its storages; ``trusted`` are classes of the user."""

    def __init__(self, tensor: MakeTensor, trusted: dict[str, Any]):
        self._tensor = tensor
        self._rules: dict[str, Called] = {
            name: Called(name, rule) for name, rule in (_RULES | self._of_tensors()).items()
        }
        self._trusted = trusted

    def __call__(self, name: str) -> Any:
        """What ``name`` stands for; None if it is unknown."""
        if name in _DTYPES:
            return _DTYPES[name]
        kind = storage_class(name)
        if kind is not None:
            return kind
        found = self._rules.get(name)
        if found is None and name in self._trusted:
            chosen = self._trusted[name]
            return Called(name, lambda _, *a, **k: chosen(*a, **k), chosen if isinstance(chosen, type) else None)
        if found is None and name.startswith(_CONSTRAINTS):
            found = _constraint(name)
        if found is None:
            self._refuse(name)
        return found

    @staticmethod
    def _refuse(name: str) -> None:
        """Say of some names what they are."""
        if name.startswith("torch.nn.") and name.rpartition(".")[2][:1].isupper():
            raise Wrong(
                f"it holds a whole module, {name}; only state is read: make the module, and load its state_dict()"
            )
        if name.startswith(("torch._utils._rebuild_sparse", "torch._utils._rebuild_nested", "torch._utils._rebuild_q")):
            what = name.rpartition("_rebuild_")[2].replace("_tensor", "").replace("qtensor", "quantized")
            raise Wrong(
                f"it holds a tensor of another layout ({what}, by {name}); convert it to a dense one before saving"
            )

    def _of_tensors(self) -> dict[str, Any]:
        def v2(
            m: Machine, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, *more: Any
        ) -> Any:
            if not isinstance(storage, Stored) or storage.dtype is None:
                raise Wrong(f"a tensor stands on {repr(storage)[:60]}")
            return self._rebuilt(storage, storage.dtype, offset, size, stride, requires_grad, *more[1:])

        def v3(
            m: Machine, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any,
            metadata: Any = None,
        ) -> Any:  # fmt: skip
            if not isinstance(storage, Stored) or not isinstance(dtype, DType):
                raise Wrong(f"a tensor stands on {repr(storage)[:60]}")
            return self._rebuilt(storage, dtype, offset, size, stride, requires_grad, metadata)

        return {
            "torch._utils._rebuild_tensor": lambda m, storage, offset, size, stride: v2(
                m, storage, offset, size, stride
            ),
            "torch._utils._rebuild_tensor_v2": v2,
            "torch._utils._rebuild_tensor_v3": v3,
        }

    def _rebuilt(
        self, storage: Stored, dtype: DType, offset: Any, size: Any, stride: Any, requires_grad: Any,
        metadata: Any = None,
    ) -> Tensor:  # fmt: skip
        shape, strides = _sizes(size), _sizes(stride)
        if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS or type(offset) is not int or offset < 0:
            raise Wrong(f"a tensor has sizes {shape}, strides {strides} and offset {offset!r}")
        made = self._tensor(storage, dtype, shape, strides, offset)
        for flag, on in (metadata or {}).items() if isinstance(metadata, dict | None) else ():
            if flag not in ("conj", "neg"):
                raise Wrong(f"a tensor is marked {flag!r}")
            made = (made.conj() if flag == "conj" else -made) if on else made
        return _with_grad(made, requires_grad)


def storage_class(name: str) -> StorageClass | None:
    """What the name of a class of storages stands for."""
    module, _, short = name.rpartition(".")
    if module not in ("torch", "torch.cuda", "torch.storage") or not short.endswith("Storage"):
        return None
    if short in ("UntypedStorage", "_UntypedStorage"):
        return StorageClass(None)
    dtype = _STORAGES.get(short.removesuffix("Storage"))
    return None if dtype is None else StorageClass(dtype)


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(v) is int and 0 <= v < _MAX_RANGE for v in values):
        raise Wrong(f"a tensor has sizes or strides {repr(values)[:60]}")
    if math.prod(filter(None, values)) >= _MAX_RANGE:
        raise Wrong(f"a tensor has sizes or strides {repr(values)[:60]}")
    return tuple(values)


def _with_grad(tensor: Tensor, requires_grad: Any) -> Tensor:
    if type(requires_grad) is not bool:
        raise Wrong(f"requires_grad is {repr(requires_grad)[:40]}")
    return tensor.requires_grad_(True) if requires_grad else tensor


# -- rules ---------------------------------------------------------------------------------------------------
def _parameter(m: Machine, data: Any, requires_grad: Any, hooks: Any = None, state: Any = None) -> Parameter:
    if not isinstance(data, Tensor) or type(requires_grad) is not bool:
        raise Wrong(f"a parameter is made of a {type(data).__name__}")
    made = Parameter(data, requires_grad=requires_grad)
    _set_attributes(m, made, state)
    return made


def _from_type(m: Machine, function: Any, cls: Any, arguments: Any, state: Any) -> Any:
    name = cls.name if isinstance(cls, Called) else repr(cls)
    if name not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise Wrong(f"it holds a tensor of class {name}; only plain tensors and parameters are read")
    m.call(function, arguments)
    made = m.pop()
    _set_attributes(m, made, state)
    return made


def _set_attributes(m: Machine, tensor: Tensor, state: Any) -> None:
    """Attributes that somebody put on a tensor, where tensors take them."""
    if not state:
        return
    found = state[0] if isinstance(state, tuple) and len(state) == 2 else state
    if not isinstance(found, dict) or not all(isinstance(k, str) and not k.startswith("__") for k in found):
        raise Wrong(f"a tensor has attributes {repr(state)[:60]}")
    for name, value in found.items():
        try:
            setattr(tensor, name, m.value(value))
        except AttributeError:
            return


def _meta(m: Machine, dtype: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
    if not isinstance(dtype, DType):
        raise Wrong(f"a tensor has dtype {dtype!r}")
    return _with_grad(empty(_sizes(size), dtype=dtype, device="meta"), requires_grad)


def _layout(m: Machine, name: Any) -> Any:
    if name != "torch.strided":
        raise Wrong(f"it holds the layout {name}")
    return strided


def _filled(kind: Callable[[], Any]) -> Callable[..., Any]:
    """A dict of some kind, empty or of a dict or pairs."""

    def make(m: Machine, content: Any = ()) -> Any:
        made = kind()
        pairs = content.items() if isinstance(content, dict) else content
        m.set_items(made, [part for pair in pairs for part in _pair(pair)])
        return made

    return make


def _pair(pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise Wrong("a dict is made of something else than pairs")
    return pair[0], pair[1]


def _defaultdict(m: Machine, factory: Any = None, content: Any = ()) -> Any:
    names = {
        "list": list,
        "dict": dict,
        "int": int,
        "float": float,
        "set": set,
        "str": str,
        "bool": bool,
        "tuple": tuple,
    }
    plain = names.get(factory.name.rpartition(".")[2]) if isinstance(factory, Called) else None
    if plain is None and factory is not None:
        raise Wrong(f"it holds a defaultdict of {factory!r}")
    made: defaultdict[Any, Any] = defaultdict(plain)
    m.set_items(made, [part for pair in content for part in _pair(pair)])
    return made


def _set(m: Machine, members: Any = ()) -> set[Any]:
    made: set[Any] = set()
    m.add_all(made, members)
    return made


def _encoded(m: Machine, text: Any, encoding: Any = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise Wrong(f"it encodes a {type(text).__name__} as {encoding!r}")
    return text.encode(encoding)


def _made_by(kind: Callable[..., Any], *allowed: type) -> Callable[..., Any]:
    """``kind(*arguments)`` of plain arguments."""

    def make(m: Machine, *arguments: Any) -> Any:
        if not all(isinstance(a, allowed) for a in arguments):
            raise Wrong(f"it makes a {getattr(kind, '__name__', kind)} of {repr(arguments)[:60]}")
        return kind(*arguments)

    return make


def _device(m: Machine, kind: Any, index: Any = None) -> Device:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise Wrong(f"it holds a device of {kind!r}")
    return Device(kind, index)


def _constraint(name: str) -> Called | None:
    """A constraint of distributions: made by its constructor, of its state if it has any."""
    cls = constraints().get(name.removeprefix(_CONSTRAINTS))
    if cls is None:
        return None

    def settle(state: Any) -> Any:
        try:
            return cls(**state)
        except (AssertionError, TypeError) as error:
            raise Wrong(f"{name} cannot be made of {repr(state)[:60]}: {error}") from None

    takes = inspect.signature(cls).parameters
    return Called(name, lambda m: Pending(f"a constraint {name}", settle) if takes else cls())


# -- numpy ---------------------------------------------------------------------------------------------------
def _numpy_dtype(m: Machine, text: Any, *_: Any) -> Pending:
    if not isinstance(text, str) or text[:1] not in "biufc" or not text[1:].isdigit():
        raise Wrong(f"it holds the numpy dtype {text!r}")

    def settle(state: Any) -> Any:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if order not in ("<", ">", "=", "|"):
            raise Wrong(f"a numpy dtype has the byte order {order!r}")
        return np.dtype(f"{order}{text}")

    return Pending(f"numpy dtype {text}", settle)


def _numpy_array(m: Machine, cls: Any, *_: Any) -> Pending:
    def settle(state: Any) -> Any:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Wrong("a numpy array has no whole state")
        _, shape, dtype, fortran, data = state
        return _numpy_of_bytes(m, data, dtype, shape, "F" if fortran else "C")

    return Pending("numpy array", settle)


def _numpy_of_bytes(m: Machine, data: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
    sizes = _sizes(shape)
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise Wrong(f"a numpy array has dtype {dtype!r} and data of {type(data).__name__}")
    flat = np.frombuffer(bytearray(data), dtype)
    if flat.size != math.prod(sizes):
        raise Wrong(f"a numpy array of shape {sizes} has {flat.size} elements")
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(sizes, order=order)


def _numpy_scalar(m: Machine, dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise Wrong("a numpy scalar has no whole state")
    return np.frombuffer(data, dtype)[0].astype(dtype.newbyteorder("="))


def _only_named(m: Machine, *_: Any) -> Any:
    raise Wrong("it calls a class that is only named in files")


_NUMPY: Final[dict[str, Callable[..., Any]]] = {"_reconstruct": _numpy_array, "scalar": _numpy_scalar}
_BUILTINS: Final[dict[str, Callable[..., Any]]] = {
    "set": _set,
    "frozenset": lambda m, members=(): frozenset(_set(m, members)),
    "dict": _filled(dict),
    "list": _made_by(list, tuple, list),
    "tuple": _made_by(tuple, tuple, list),
    "complex": _made_by(complex, float, int),
    "int": _made_by(int, int, float),
    "float": _made_by(float, int, float),
    "bool": _made_by(bool, int),
    "str": _made_by(str, str),
    "bytes": _made_by(bytes, bytes),
    "bytearray": _made_by(bytearray, bytes),
    "slice": _made_by(slice, int, type(None)),
    "range": _made_by(range, int),
    "xrange": _made_by(range, int),
}
_RULES: Final[dict[str, Callable[..., Any]]] = {
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.serialization._get_layout": _layout,
    "torch.Tensor": _only_named,
    "torch.nn.parameter.Parameter": _only_named,
    "torch.nn.Parameter": _only_named,
    "torch.Size": _made_by(Size, tuple, list),
    "torch.device": _device,
    "collections.OrderedDict": _filled(OrderedDict),
    "collections.Counter": _filled(Counter),
    "collections.defaultdict": _defaultdict,
    "_codecs.encode": _encoded,
    "numpy.dtype": _numpy_dtype,
    "numpy.ndarray": _only_named,
    **{f"{module}.{name}": rule for module in ("builtins", "__builtin__") for name, rule in _BUILTINS.items()},
    "numpy._core.numeric._frombuffer": _numpy_of_bytes,
    "numpy.core.numeric._frombuffer": _numpy_of_bytes,
    **{f"numpy.{module}.multiarray.{name}": rule for module in ("core", "_core") for name, rule in _NUMPY.items()},
}
