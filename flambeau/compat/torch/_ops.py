"""torch.ops: ops by namespace and name, ``torch.ops.aten.add.Tensor`` and those that libraries register."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from flambeau.compat.torch import _foreach
from flambeau.compat.unchanged import lacking
from flambeau.core import library
from flambeau.core.creation import full_at, zeros_like
from flambeau.core.dtype import DTypeLike, bool_
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.nn.softmax import softmax
from flambeau.core.ops.nn.sparse import masked_scale_p
from flambeau.core.tensor import Tensor

__all__ = ["OpOverload", "OpOverloadPacket", "ops"]

#: One for each dimension, or one for all.
Sizes = int | Sequence[int]
#: The namespaces of ops of packages' libraries, by the package and the file, and the module that has them here.
_LIBRARIES: Final = {
    ("torchvision", "_C"): ("torchvision", "vision"),
    ("torchvision", "image"): ("image", "vision"),
    ("torchaudio", "_torchaudio"): ("_torchaudio", "audio"),
    ("torchaudio", "libtorchaudio"): ("torchaudio", "audio"),
    ("torchtext", "libtorchtext"): ("torchtext", "text"),
}
_ENTERED: Final[dict[str, Callable[..., Any]]] = {}


def enter(namespace: str, name: str, fn: Callable[..., Any]) -> None:
    """Let ``torch.ops.NAMESPACE.NAME`` be a function of objects that no schema tells of."""
    _ENTERED[f"{namespace}::{name}"] = fn


class OpOverload:
    """One overload of an op: callable."""

    def __init__(self, packet: OpOverloadPacket, overload: str):
        self.overloadpacket, self._overloadname = packet, overload
        self.namespace = packet.namespace

    @property
    def __name__(self) -> str:
        return f"{self.overloadpacket.__name__}.{self._overloadname}"

    @property
    def _schema(self) -> Any:  # Any: the schema of a registered op, None for one of flambeau's
        return getattr(self.overloadpacket.op, "schema", None)

    def name(self) -> str:
        """ "namespace::op.overload"."""
        tail = "" if self._overloadname == "default" else f".{self._overloadname}"
        return f"{self.namespace}::{self.overloadpacket.__name__}{tail}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.overloadpacket(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self.namespace}.{self.overloadpacket.__name__}', overload='{self._overloadname}')>"


class OpOverloadPacket:
    """An op with all its overloads, which flambeau decides between by the arguments."""

    def __init__(self, namespace: str, name: str, op: Any):
        self.namespace, self.__name__, self.op = namespace, name, op
        known = _foreach.overloads(name) if namespace == "aten" else []
        self._overloads: dict[str, OpOverload] = {n: OpOverload(self, n) for n in known or ["default"]}

    def overloads(self) -> list[str]:
        """The names of overloads that are known, or were asked for; "default" where an op has one."""
        return list(self._overloads)

    def __getattr__(self, name: str) -> OpOverload:
        if name.startswith("_"):
            raise AttributeError(f"op {self.namespace}::{self.__name__} has no attribute {name!r}", name=name, obj=self)
        return self._overloads.setdefault(name, OpOverload(self, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.op(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self.namespace}.{self.__name__}')>"


class _Namespace:
    """The ops of one library."""

    def __init__(self, name: str):
        self.name = name
        self._packets: dict[str, OpOverloadPacket] = {}

    def __getattr__(self, name: str) -> OpOverloadPacket:
        if name.startswith("__"):
            raise AttributeError(name)
        op = library.registered(f"{self.name}::{name}") or _ENTERED.get(f"{self.name}::{name}")
        if op is None and self.name in ("aten", "prims"):
            op = _built_in(name)
        if op is None:
            raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{name}'", name=name, obj=self)
        found = self._packets.get(name)
        if found is None or found.op is not op:
            found = self._packets[name] = OpOverloadPacket(self.name, name, op)
        return found

    def __dir__(self) -> list[str]:
        return sorted(library.registered_in(self.name))


class _Ops:
    """``torch.ops``."""

    def __init__(self) -> None:
        self.__file__ = "_ops.py"
        self.loaded_libraries: set[str] = set()
        self._namespaces: dict[str, _Namespace] = {}

    def __getattr__(self, name: str) -> _Namespace:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._namespaces.setdefault(name, _Namespace(name))

    def load_library(self, path: str) -> None:
        """Enter the ops of a library of C++ kernels, where flambeau has them: torchvision's, torchaudio's, torchtext's.

        OSError for others.
        """
        file = Path(path)
        for part in file.parts:
            if found := _LIBRARIES.get((part, file.stem.partition(".")[0])):
                namespace, module = found
                importlib.import_module(f"flambeau.compat.{module}").register(namespace)  # who uses it waits for it
                self.loaded_libraries.add(str(path))
                return
        raise OSError(f"torch.ops.load_library: {path} is compiled for PyTorch; flambeau's kernels come from plugins")


def _built_in(name: str) -> Any:  # Any: a function of flambeau, None where there is none
    """What flambeau calls one of torch's own ops: a function, one of layers, or a method."""
    if own := _RENAMED.get(name) or _foreach.FUNCTIONS.get(name):
        return own
    import flambeau  # the face imports this module's package by name only

    for module in ("", "nn.functional", "linalg", "special", "fft"):
        try:
            home = importlib.import_module(f"flambeau.{module}" if module else "flambeau")
        except ModuleNotFoundError:
            continue
        found = getattr(home, name, None)
        if callable(found) and not isinstance(found, type):
            return found
    return getattr(flambeau.Tensor, name, None)


def _index(self: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    return self[tuple(slice(None) if i is None else i for i in indices)]


def _slice(self: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    return self[(slice(None),) * (dim % self.dim()) + (slice(start, end, step),)]


def _safe_softmax(self: Tensor, dim: int, dtype: DTypeLike | None = None) -> Tensor:
    """softmax, which is 0 instead of nan where all of a row is -inf."""
    given = self if dtype is None else self.to(dtype)
    masked = (given == -math.inf).all(dim, keepdim=True)
    found: Tensor = softmax(self.masked_fill(masked, 0.0), dim, dtype).masked_fill(masked, 0.0)
    return found


def _native_dropout_backward(grad_output: Tensor, mask: Tensor, scale: float) -> Tensor:
    return masked_scale_p(grad_output, mask, scale)


def _max_pool2d_with_indices_backward(
    grad_output: Tensor, self: Tensor, kernel_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
    ceil_mode: bool, indices: Tensor,
) -> Tensor:  # fmt: skip
    """Each gradient added at the place, in the flattened image, that its maximum came from; of ``self`` it is zero."""
    flat = zeros_like(self).flatten(-2).scatter_add(-1, indices.flatten(-2), grad_output.flatten(-2))
    return where(full_at(self, (), True, bool_), flat.reshape(self.shape), self)


_SPARSE: Final = "flambeau has no products of sparse matrices under this name"
#: Ops that torch has under a name of its own alone.
_RENAMED: Final[dict[str, Callable[..., Any]]] = {
    "_to_copy": lambda self, **options: self.to(copy=True, **options),
    "_pin_memory": lambda self, device=None: self.pin_memory(),
    "_safe_softmax": _safe_softmax,
    "max_pool2d_with_indices_backward": _max_pool2d_with_indices_backward,
    "native_dropout_backward": _native_dropout_backward,
    "alias": lambda self: self.view(self.shape),
    "index": _index,
    "slice": _slice,
    "_sparse_addmm": lacking("ops.aten._sparse_addmm", _SPARSE),
    "_sparse_mm_reduce_impl": lacking("ops.aten._sparse_mm_reduce_impl", _SPARSE),
}

ops = _Ops()
