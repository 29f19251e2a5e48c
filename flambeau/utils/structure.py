"""Nested state as JSON and arrays, and back.

JSON's null, true, numbers, strings and lists stand for themselves; every other value is an object with one
key, its kind: ``{"tuple": [...]}``, ``{"dict": [[key, value], ...]}``, ``{"float": "nan"}``. Tensors and
arrays are numbered, ``{"array": 3}``, and described in a list beside the tree: where an object stands in
two places, both have the same number.
"""

from __future__ import annotations

import base64
import enum
import math
import operator
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, cast

import numpy as np

from flambeau import nn
from flambeau.core import dtype as dt
from flambeau.core.device import DeviceLike
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.registry import resolve
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.utils import safetensors
from flambeau.utils.host import HostArray, host_array, tensor_from_host
from flambeau.utils.safetensors import CheckpointError, Header
from flambeau.utils.strict_json import shortened
from flambeau.utils.trusted import constraints, full_name

_LARGE: Final = 1 << 1024  # ints from here on stand in hexadecimal: as decimals they take quadratic time
_MAX_COLLISIONS: Final = 200
MAX_DEPTH: Final = 100  # deeper nesting is a structure that contains itself

_CONSTRAINTS: Final = "flambeau.distributions.constraints"

#: The keys that lead to an object.
Path = tuple[Any, ...]
Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Locate = Callable[[str], DeviceLike]


class Encoder:
    """Turns objects into JSON nodes and collects the arrays on the way.

    ``encode`` each object, then ``finish``; the arrays are named after where they stand.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # of the objects seen, by id
        self._objects: list[Any] = []  # keeps them alive, so that ids stay theirs
        self._names: list[str] = []
        self._used = {safetensors.METADATA: 1}  # how often each name was asked for

    def encode(self, value: object, path: Path = ()) -> Json:
        """The JSON node of ``value``; ``path`` holds the keys that lead to it."""
        if value is None or type(value) in (bool, str) or type(value) is int and abs(value) < _LARGE:
            return cast(Json, value)
        if len(path) > MAX_DEPTH:
            raise ValueError(
                f"save: {_place(path[:3])}... is nested more than {MAX_DEPTH} deep; does it contain itself?"
            )
        if isinstance(value, Tensor) and value._in_parts:
            return _encode_sparse(self, value, path)
        if isinstance(value, (Tensor, np.ndarray, np.generic)):
            return {"array": self._number(value, path)}
        encode = _ENCODERS.get(type(value)) or _encoder_of(value)
        if encode is None:
            raise TypeError(
                f"save: {_place(path)} is a {type(value).__name__}, which cannot be saved; {_remedy(value)}"
            )
        return encode(self, value, path)

    def items(self, values: Iterable[object], path: Path) -> Json:
        return [self.encode(v, (*path, i)) for i, v in enumerate(values)]

    def pairs(self, mapping: dict[Any, Any], path: Path) -> Json:
        return [[self.encode(k, (*path, "key")), self.encode(v, (*path, k))] for k, v in mapping.items()]

    def finish(self) -> tuple[dict[str, HostArray], list[dict[str, Any]]]:
        """The arrays by name, and the description of each numbered object."""
        arrays: dict[str, HostArray] = {}
        described: list[dict[str, Any]] = []
        bases = _shared_storage(self._objects)
        for number, (obj, name) in enumerate(zip(self._objects, self._names, strict=True)):
            description = _describe(obj)
            base = bases.get(number)
            if base is not None:
                description |= {"array": self._names[base.first], "view": base.view_of(obj)}
                if base.first == number:
                    arrays[name] = _storable(base.host())
            else:
                description["array"] = name
                arrays[name] = _storable(host_array(obj) if isinstance(obj, Tensor) else np.asarray(obj))
            described.append(description)
        return arrays, described

    def _number(self, obj: Any, path: Path) -> int:
        number = self._numbers.get(id(obj))
        if number is None:
            _check_array(obj, path)
            number = self._numbers[id(obj)] = len(self._objects)
            self._objects.append(obj)
            self._names.append(self._name(path))
        return number

    def _name(self, path: Path) -> str:
        base = name = ".".join(map(_text, path)).encode(errors="replace").decode() or "tensor"
        while name in self._used:
            self._used[base] += 1
            name = f"{base}#{self._used[base]}"
        self._used[name] = 1
        return name


def _text(key: object) -> str:
    """A key in a name: JSON and UTF-8 have no halves of surrogate pairs, and Python writes no number at any length."""
    return hex(key) if type(key) is int and abs(key) >= _LARGE else str(key)


def _place(path: Path) -> str:
    return "obj" + "".join(f"[{_text(key) if type(key) is int else repr(key)}]" for key in path)


def _remedy(value: object) -> str:
    if hasattr(value, "state_dict"):
        return "save its state_dict() instead"
    if isinstance(value, tuple):
        return "save tuple(value) or value._asdict() instead"
    if isinstance(value, dict):
        return "save dict(value) instead"
    return "save the numbers, strings, containers and tensors that it is made of"


def _check_array(obj: Any, path: Path) -> None:
    if isinstance(obj, Tensor):
        if resolve(obj.device).has("no_data"):
            raise TypeError(f"save: {_place(path)} is a tensor on the {obj.device} device, which has no values to save")
        return
    try:
        dt.from_numpy(obj.dtype)
    except TypeError as error:
        raise TypeError(f"save: {_place(path)} cannot be saved: {error}") from None


def _encode_float(encoder: Encoder, value: float, path: Path) -> Json:
    return value if math.isfinite(value) else {"float": repr(value)}


_ENCODERS: Final[dict[type, Callable[[Encoder, Any, Path], Json]]] = {
    int: lambda e, v, path: {"int": hex(v)},
    float: _encode_float,
    complex: lambda e, v, path: {"complex": e.items((v.real, v.imag), path)},
    bytes: lambda e, v, path: {"bytes": base64.b64encode(v).decode()},
    list: Encoder.items,
    tuple: lambda e, v, path: {"tuple": e.items(v, path)},
    set: lambda e, v, path: {"set": e.items(v, path)},
    dict: lambda e, v, path: {"dict": e.pairs(v, path)},
    OrderedDict: lambda e, v, path: {"ordered_dict": e.pairs(v, path)},
    Counter: lambda e, v, path: {"counter": e.pairs(v, path)},
    Size: lambda e, v, path: {"size": list(v)},
    DType: lambda e, v, path: {"dtype": v.name},
    Device: lambda e, v, path: {"device": str(v)},
}


def _encode_module(encoder: Encoder, value: Any, path: Path) -> Json:
    """A module by what it is made of, and its class by name; that name alone makes nothing when it is read."""
    cls = type(value)
    name = f"nn.{cls.__name__}" if getattr(nn, cls.__name__, None) is cls else full_name(cls)
    return {"module": [name, encoder.pairs(_state(value), path)]}


def _encode_sparse(encoder: Encoder, value: Any, path: Path) -> Json:
    """A sparse tensor by its parts."""
    parts = [(f"indices{i}", part) for i, part in enumerate(value._where)] + [("values", value._held.detach())]
    nodes = [encoder.encode(part, (*path, name)) for name, part in parts]
    return {"sparse": [value.layout.name, list(value.shape), value._coalesced, value.requires_grad, nodes]}


def _decode_sparse(decoder: Decoder, content: Any) -> Tensor:
    """A sparse tensor, its indices checked; ValueError or RuntimeError where they do not fit."""
    from flambeau.core.sparse.answering import make  # the class makes functions slower: at first need

    name, shape, coalesced, requires_grad, nodes = content
    parts = [decoder._value(node) for node in nodes]
    plain = all(type(part) is Tensor for part in parts) and all(type(n) is int and n >= 0 for n in shape)
    if not plain or type(coalesced) is not bool or type(requires_grad) is not bool:
        raise ValueError("a sparse tensor of other parts than tensors")
    if name == "sparse_coo":
        indices, values = parts
        return make.sparse_coo_tensor(
            indices, values, shape, requires_grad=requires_grad, check_invariants=True, is_coalesced=coalesced
        )
    found = {
        "sparse_csr": make.sparse_csr_tensor, "sparse_csc": make.sparse_csc_tensor,
        "sparse_bsr": make.sparse_bsr_tensor, "sparse_bsc": make.sparse_bsc_tensor,
    }[name]  # fmt: skip
    heads, places, values = parts
    return found(heads, places, values, shape, requires_grad=requires_grad, check_invariants=True)


def _encode_object(encoder: Encoder, value: Any, path: Path) -> Json:
    cls = type(value)
    attributes = encoder.pairs(_state(value), path)
    if cls.__module__ == _CONSTRAINTS and constraints().get(cls.__name__) is cls:
        return {"constraint": [cls.__name__, attributes]}
    return {"object": [full_name(cls), attributes]}


def _state(value: Any) -> dict[Any, Any]:
    """The attributes that an object keeps."""
    own: Any = type(value)
    found = vars(value) if own.__getstate__ is object.__getstate__ else value.__getstate__()
    if not isinstance(found, dict):
        raise TypeError(f"save: the state of a {own.__name__} is a {type(found).__name__}; a dict can be saved")
    return found


def _encode_enum(encoder: Encoder, value: enum.Enum, path: Path) -> Json:
    return {"enum": [full_name(type(value)), value.name]}


def _encoder_of(value: object) -> Callable[[Encoder, Any, Path], Json] | None:
    """How a value of a class that is not ours is written: what has a way of its own to be saved is not."""
    if isinstance(value, Module):
        return _encode_module
    if isinstance(value, enum.Enum):
        return _encode_enum
    cls: Any = type(value)
    usual = all(getattr(cls, n) is getattr(object, n) for n in ("__new__", "__reduce__", "__reduce_ex__"))
    usual = usual and not hasattr(cls, "__setstate__")
    return _encode_object if usual and hasattr(value, "__dict__") and not hasattr(cls, "state_dict") else None


# -- descriptions of arrays --------------------------------------------------------------------------


def _describe(obj: Any) -> dict[str, Any]:
    if isinstance(obj, Tensor):
        kind = "parameter" if isinstance(obj, Parameter) else "tensor"
        return {"kind": kind, "dtype": obj.dtype.name, "device": str(obj.device), "requires_grad": obj.requires_grad}
    kind = "numpy" if isinstance(obj, np.ndarray) else "scalar"
    return {"kind": kind, "dtype": dt.from_numpy(obj.dtype).name}


def _storable(host: HostArray) -> HostArray:
    """The format has no complex128: such an array is stored as pairs of float64."""
    if safetensors.storable(dt.from_numpy(host.dtype)):
        return host
    return safetensors.raw_bytes(host).view(np.float64).reshape(*host.shape, 2)


class _Base:
    """The part of one storage that several tensors share, as a flat tensor."""

    def __init__(self, first: int, members: list[Tensor]):
        self.first = first  # the number of the tensor under whose name it is stored
        spans = [_span(t.shape, t.stride(), t.storage_offset()) for t in members]
        self._start, self._end = min(s for s, _ in spans), max(e for _, e in spans)
        self._tensor = members[0]

    def host(self) -> HostArray:
        flat = self._tensor.detach().as_strided((self._end - self._start,), (1,), self._start)
        return host_array(flat)

    def view_of(self, tensor: Tensor) -> list[Any]:
        return [list(tensor.shape), list(tensor.stride()), tensor.storage_offset() - self._start]


def _span(shape: Iterable[int], strides: Iterable[int], offset: int) -> tuple[int, int]:
    """The first element that a strided view touches and the one behind its last."""
    reach = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    return offset + sum(r for r in reach if r < 0), offset + sum(r for r in reach if r > 0) + 1


def _shared_storage(objects: list[Any]) -> dict[int, _Base]:
    """For the number of each tensor that shares its storage with another one: the base of both."""
    groups: dict[Any, list[int]] = {}
    for number, obj in enumerate(objects):
        if isinstance(obj, Tensor) and obj.numel():
            storage = obj.data_ptr() - obj.storage_offset() * obj.itemsize
            key = (obj.device, storage, obj.dtype)
            groups.setdefault(key, []).append(number)
    found: dict[int, _Base] = {}
    for numbers in groups.values():
        if len(numbers) > 1:
            base = _Base(numbers[0], [objects[n] for n in numbers])
            found |= dict.fromkeys(numbers, base)
    return found


# -- reading back ------------------------------------------------------------------------------------


class Decoder:
    """Builds the objects of one open file.

    ``locate`` tells the device from the saved device's name; ``known`` has the classes that may be made, by name.
    """

    def __init__(
        self, file: BinaryIO, header: Header, where: str, locate: Locate, mmap: bool, known: Mapping[str, Any]
    ):
        self._file, self._header, self._where, self._mmap = file, header, where, mmap
        self.known = known
        self._locate = locate
        self._descriptions: list[dict[str, Any]] = []
        self._made: dict[int, Any] = {}
        self._bases: dict[str, Tensor] = {}
        self._taken: set[str] = set()
        self._places: dict[str, DeviceLike] = {}

    @property
    def where(self) -> str:
        """The file's name."""
        return self._where

    def decode(self, structure: dict[str, Any]) -> object:
        """The object that the structure describes; CheckpointError when it makes no sense."""
        self._places = self._located(structure["arrays"])  # errors of the caller's function stay what they are
        try:
            self._descriptions = structure["arrays"]
            return self._value(structure["root"])
        except (CheckpointError, OSError):
            raise
        except Exception as error:
            raise CheckpointError(
                f"{self._where}: damaged: the structure makes no sense ({type(error).__name__}: {str(error)[:200]})"
            ) from error

    def _located(self, descriptions: Any) -> dict[str, DeviceLike]:
        """Where the tensors go, by the names of the devices that they were saved from."""
        found = descriptions if isinstance(descriptions, list) else []
        names = dict.fromkeys(d["device"] for d in found if isinstance(d, dict) and type(d.get("device")) is str)
        return {name: self._locate(name) for name in names}

    def _value(self, node: Any) -> Any:
        if isinstance(node, list):
            return self._values(node)
        if not isinstance(node, dict):
            return node
        ((kind, content),) = node.items()
        return _DECODERS[kind](self, content)

    def _values(self, nodes: list[Any]) -> list[Any]:
        """In place: what was parsed is not needed beside what is made of it."""
        for i, node in enumerate(nodes):
            if node.__class__ is dict or node.__class__ is list and node:
                nodes[i] = self._value(node)
        return nodes

    def _pairs(self, nodes: list[Any]) -> Iterator[tuple[Any, Any]]:
        keys = [self._value(k) for k, _ in nodes]
        for key, (_, node) in zip(_spread(keys), nodes, strict=True):
            yield key, self._value(node)

    def _numbered(self, number: int) -> Any:
        if number not in self._made:
            if not 0 <= number < len(self._descriptions):
                raise ValueError(f"array {number} of {len(self._descriptions)}")
            self._made[number] = self._make(self._descriptions[number])
        return self._made[number]

    def _make(self, description: dict[str, Any]) -> Any:
        kind = description["kind"]
        if kind in ("numpy", "scalar"):
            host = self._host(description)
            if kind == "scalar" and host.shape:
                raise ValueError(f"a scalar of shape {host.shape}")
            return host if kind == "numpy" else host[()]
        device, requires_grad = self._places[description["device"]], description["requires_grad"]
        if type(requires_grad) is not bool:
            raise ValueError(f"requires_grad is {shortened(requires_grad)}")
        tensor = self._shared(description, device) if "view" in description else self._tensor(description, device)
        if kind == "parameter":
            return Parameter(tensor, requires_grad=requires_grad)
        if kind != "tensor":
            raise ValueError(f"unknown kind {kind!r}")
        return tensor.requires_grad_(True) if requires_grad else tensor

    def _host(self, description: dict[str, Any]) -> HostArray:
        entry = self._header.entries[description["array"]]
        if entry.name in self._taken:  # a small file would fill any memory
            raise ValueError(f"array {shortened(entry.name)} is described twice")
        self._taken.add(entry.name)
        host = safetensors.read_array(self._file, entry, self._where, self._mmap)
        if not self._mmap and safetensors.checksum(host) != description["crc32"]:
            raise CheckpointError(f"{self._where}: damaged: the checksum of array {shortened(entry.name)} is wrong")
        dtype = dt.dtype_named(description["dtype"])
        if dtype is dt.complex128 and entry.dtype is dt.float64 and host.shape[-1:] == (2,):
            return safetensors.raw_bytes(host).view(np.complex128).reshape(host.shape[:-1])
        if dtype is not entry.dtype:
            raise ValueError(f"array {shortened(entry.name)} is {entry.dtype}, not {dtype}")
        return host

    def _tensor(self, description: dict[str, Any], device: DeviceLike) -> Tensor:
        host = self._host(description)
        try:
            return tensor_from_host(host, device)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self._where}: its tensors go to device {str(device)!r}, which cannot be used: {error}; "
                "map_location='cpu' loads them elsewhere"
            ) from error

    def _shared(self, description: dict[str, Any], device: DeviceLike) -> Tensor:
        name = description["array"]
        base = self._bases.get(name)
        if base is None:
            base = self._bases[name] = self._tensor(description, device)
        shape, strides, offset = description["view"]
        start, end = _span(shape, strides, offset)
        if start < 0 or end > base.numel() or min(shape, default=1) < 1:
            raise ValueError(f"a view of {shortened(name)} reaches out of it")
        view: Tensor = base.as_strided(shape, strides, offset)
        return view.detach()


def _spread(keys: list[Any]) -> list[Any]:
    """Keys of a dict or a set; ValueError where many have one hash, which no honest file has and takes for ever."""
    if len(keys) > _MAX_COLLISIONS and max(Counter(map(hash, keys)).values()) > _MAX_COLLISIONS:
        raise ValueError("too many keys have the same hash")
    return keys


def _decode_complex(decoder: Decoder, parts: list[Any]) -> complex:
    real, imag = decoder._values(parts)
    return complex(real, imag)


def _decode_module(decoder: Decoder, content: list[Any]) -> Module:
    name, attributes = content
    cls = getattr(nn, name.removeprefix("nn."), None) if name.startswith("nn.") else decoder.known.get(name)
    if not isinstance(cls, type) or not issubclass(cls, Module):
        raise CheckpointError(
            f"{decoder.where}: holds a whole module, of class {shortened(name)}; no class is looked for by a name in a "
            "file: say flambeau.serialization.add_safe_globals([its class]) first, or load(..., weights_only=False) "
            "for the classes that this program has, or save and load state_dict()"
        )
    made: Module = cls.__new__(cls)
    made.__setstate__(dict(decoder._pairs(attributes)))
    return made


def _trusted(decoder: Decoder, name: str) -> Any:
    cls = decoder.known.get(name)
    if not isinstance(cls, type):
        raise CheckpointError(
            f"{decoder.where}: holds an object of class {shortened(name)}; no class is looked for by a name in a file: "
            "say flambeau.serialization.add_safe_globals([its class]) first"
        )
    return cls


def _decode_constraint(decoder: Decoder, content: list[Any]) -> Any:
    name, attributes = content
    return constraints()[name](**dict(decoder._pairs(attributes)))


def _decode_object(decoder: Decoder, content: list[Any]) -> Any:
    name, attributes = content
    made = object.__new__(_trusted(decoder, name))
    vars(made).update(decoder._pairs(attributes))
    return made


_DECODERS: Final[dict[str, Callable[[Decoder, Any], Any]]] = {
    "sparse": _decode_sparse,
    "int": lambda d, v: int(v, 16),
    "float": lambda d, v: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[v],
    "complex": _decode_complex,
    "bytes": lambda d, v: base64.b64decode(v, validate=True),
    "tuple": lambda d, v: tuple(d._values(v)),
    "set": lambda d, v: set(_spread(d._values(v))),
    "dict": lambda d, v: dict(d._pairs(v)),
    "ordered_dict": lambda d, v: OrderedDict(d._pairs(v)),
    "counter": lambda d, v: Counter(dict(d._pairs(v))),
    "size": lambda d, v: Size(map(operator.index, v)),
    "dtype": lambda d, v: dt.dtype_named(v),
    "device": lambda d, v: Device(v),
    "array": Decoder._numbered,
    "module": _decode_module,
    "constraint": _decode_constraint,
    "object": _decode_object,
    "enum": lambda d, v: _trusted(d, v[0])[v[1]],
}
