"""Storages and the old names of their classes in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, answer, collected

CASES: dict[str, Case] = {}
case = collected(CASES)

#: The dtype of each old class.
CLASSES = {
    "BFloat16Storage": "bfloat16", "BoolStorage": "bool", "ByteStorage": "uint8", "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64", "DoubleStorage": "float64",
    "FloatStorage": "float32", "HalfStorage": "float16", "IntStorage": "int32", "LongStorage": "int64",
    "ShortStorage": "int16", "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip


def described(s: Any) -> Any:
    return [s.dtype, s.size(), s.nbytes(), s.element_size(), s.type().partition(".")[2], s.pickle_storage_type()]


def of_class(T: Any, name: str) -> Any:
    cls = getattr(T, name)
    quantized = CLASSES[name].startswith("q")
    s = cls(3) if quantized else cls([1, 0, 2])
    return [
        cls.dtype,
        described(s),
        None if quantized else s.tolist(),
        [isinstance(s, getattr(T, other)) for other in CLASSES],
        [isinstance(s, T.TypedStorage), isinstance(s, T.UntypedStorage), isinstance(s.untyped(), cls)],
        [isinstance(T.ones(2).storage(), cls), isinstance(T.ones(2, dtype=T.bool).storage(), cls)],
    ]


for _name in CLASSES:
    CASES[_name] = lambda T, n=_name: of_class(T, n)


def both(T: Any) -> Any:
    """The storage of a tensor as elements, and as bytes."""
    t = T.tensor([1.5, -2.0], dtype=T.float64)
    return t.storage(), t.untyped_storage()


@case
def properties(T: Any) -> Any:
    return [[s.element_size(), s.get_device(), s.is_hpu, s.is_cuda, s.resizable(), str(s.device)] for s in both(T)]


@case
def get_device(T: Any) -> Any:
    return [T.UntypedStorage(2).get_device(), T.UntypedStorage(2, device="meta").get_device()]


@case
def element_size(T: Any) -> Any:
    return [T.ones(2, dtype=T.complex64).storage().element_size(), T.UntypedStorage(7).element_size()]


@case
def complex_double(T: Any) -> Any:
    typed, untyped = both(T)
    found = typed.complex_double()
    bytes_ = untyped.complex_double()
    return [found.tolist(), described(found), bytes_.tolist()[-2:], described(bytes_), typed.tolist()]


@case
def complex_float(T: Any) -> Any:
    typed, untyped = both(T)
    found = typed.complex_float()
    bytes_ = untyped.complex_float()
    return [found.tolist(), described(found), bytes_.tolist()[-2:], described(bytes_)]


@case
def casts_are_copies(T: Any) -> Any:
    typed = T.tensor([1j, 2], dtype=T.complex128).storage()
    found = typed.complex_double()
    found[0] = 5
    return [typed.tolist(), found.tolist()]


@case
def byteswap(T: Any) -> Any:
    found = []
    for name in ("int16", "int32", "float32", "int64", "float64", "complex64", "uint8", "bool"):
        s = T.UntypedStorage(list(range(16)))
        found.append([answer(T, lambda T, s=s, n=name: s.byteswap(getattr(T, n))), s.tolist()])
    return found


@case
def byteswap_is_seen_by_the_tensor(T: Any) -> Any:
    t = T.tensor([1, 256], dtype=T.int16)
    t.untyped_storage().byteswap(T.int16)
    return t


@case
def byteswap_of_a_part(T: Any) -> Any:
    s = T.UntypedStorage([1, 2, 3])
    return [answer(T, lambda T: s.byteswap(T.int16)), s.tolist()]


@case
def resizable(T: Any) -> Any:
    t = T.tensor([1.5, -2.0])
    s = t.untyped_storage()
    found = [s.resizable(), t.storage().resizable(), T.UntypedStorage(2).resizable()]
    s.resize_(12)
    return [found, s.resizable(), s.nbytes(), t]
