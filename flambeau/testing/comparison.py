"""``assert_close``: whether two nestings of tensors and numbers are the same, or nearly so, and where they are not."""

from __future__ import annotations

import cmath
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.blame import users_level
from flambeau.core.dtype import DType, promote_types
from flambeau.core.exchange import host_device
from flambeau.core.from_data import as_tensor
from flambeau.core.tensor import Tensor
from flambeau.utils.host import host_array

__all__ = ["assert_allclose", "assert_close", "default_tolerances"]

_TOLERANCES: Final[dict[DType, tuple[float, float]]] = {
    dt.float16: (1e-3, 1e-5),
    dt.bfloat16: (1.6e-2, 1e-5),
    dt.float32: (1.3e-6, 1e-5),
    dt.float64: (1e-7, 1e-7),
    dt.complex64: (1.3e-6, 1e-5),
    dt.complex128: (1e-7, 1e-7),
}
Key = tuple[Any, ...]
Message = str | Callable[[str], str] | None


class Mismatch(Exception):
    """What differs, and under which keys."""

    def __init__(self, kind: type[Exception], text: str, key: Key = ()):
        super().__init__(text)
        self.kind, self.text, self.key = kind, text, key

    def to_error(self, msg: Message) -> Exception:
        """The error to raise."""
        where = f"\n\nThe failure occurred for item {''.join(f'[{k!r}]' for k in self.key)}" if self.key else ""
        text = self.text + where
        if self.kind is AssertionError and msg is not None:
            text = msg(text) if callable(msg) else msg
        return self.kind(text)


class Options(NamedTuple):
    """How strictly is compared."""

    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_device: bool
    check_dtype: bool
    check_layout: bool
    check_stride: bool
    allow_subclasses: bool

    def tolerances(self, *dtypes: DType) -> tuple[float, float]:
        """(rtol, atol), by default those of the least exact dtype."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        return default_tolerances(*dtypes)


def default_tolerances(*dtypes: DType) -> tuple[float, float]:
    """(rtol, atol) for values of these dtypes: those of the least exact one; 0 for integers and bools.

    >>> from flambeau.testing.comparison import default_tolerances
    >>> default_tolerances(fb.float32, fb.float64)
    (1.3e-06, 1e-05)
    """
    found = [_TOLERANCES.get(d, (0.0, 0.0)) for d in dtypes]
    return max(r for r, _ in found), max(a for _, a in found)


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: Message = None,
) -> None:  # fmt: skip
    """AssertionError unless abs(actual - expected) <= atol + rtol * abs(expected) everywhere.

    Args:
        actual, expected: tensors, arrays of numpy, numbers, bools, None, or sequences and mappings of them, alike.
        allow_subclasses: False wants tensors of one class.
        rtol, atol: both or none; by default they follow from the dtypes, and are 0 for integers and bools.
        equal_nan: two nan are equal.
        check_device, check_dtype, check_layout, check_stride: whether these must be the same too.
        msg: the text of the error instead, or what makes it from the usual one.

    >>> fb.testing.assert_close(fb.tensor([1.0, 2.0]), fb.tensor([1.0, 2.0000001]))
    >>> fb.testing.assert_close({"a": [1.0]}, {"a": [1.1]}, rtol=0.2, atol=0)
    """
    __tracebackhide__ = True
    if (rtol is None) != (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or omitted, but got no "
            f"{'rtol' if rtol is None else 'atol'}."
        )
    options = Options(rtol, atol, equal_nan, check_device, check_dtype, check_layout, check_stride, allow_subclasses)
    try:
        _compare(actual, expected, options, ())
    except Mismatch as found:
        error = found.to_error(msg)
    else:
        return
    raise error


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
    msg: str = "",
) -> None:  # fmt: skip
    """The old :func:`assert_close`, which compares neither devices nor dtypes.

    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     fb.testing.assert_allclose(fb.tensor([1.0]), [1.0])
    """
    warnings.warn("assert_allclose is deprecated; use assert_close", FutureWarning, stacklevel=users_level())
    there = actual if isinstance(actual, Tensor) else as_tensor(actual)
    wanted = expected if isinstance(expected, Tensor) else as_tensor(expected, dtype=there.dtype)
    if rtol is None and atol is None:
        rtol, atol = default_tolerances(there.dtype, wanted.dtype)
    assert_close(
        there, wanted, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False, msg=msg or None
    )


# -- pairs -----------------------------------------------------------------------------------------------
def _compare(a: Any, b: Any, options: Options, key: Key) -> None:
    if _both(a, b, Mapping):
        _compare_mappings(a, b, options, key)
    elif _both(a, b, Sequence) and not isinstance(a, str | bytes) and not isinstance(b, str | bytes):
        if len(a) != len(b):
            raise Mismatch(AssertionError, f"The length of the sequences mismatch: {len(a)} != {len(b)}", key)
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(x, y, options, (*key, i))
    elif a is None or b is None:
        if a is not b:
            raise Mismatch(AssertionError, f"None mismatch: {a} is not {b}", key)
    elif _both(a, b, bool | np.bool_):
        if bool(a) is not bool(b):
            raise Mismatch(AssertionError, f"Booleans mismatch: {bool(a)} is not {bool(b)}", key)
    elif _both(a, b, int | float | complex | np.number):
        _compare_numbers(a, b, options, key)
    elif _comparable(a, b, options):
        _compare_tensors(_as_tensor(a), _as_tensor(b), options, key)
    else:
        raise Mismatch(TypeError, f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.", key)


def _both(a: object, b: object, kind: Any) -> bool:
    return isinstance(a, kind) and isinstance(b, kind)


def _comparable(a: object, b: object, options: Options) -> bool:
    if _both(a, b, Tensor):
        return options.allow_subclasses or type(a) is type(b)
    return _both(a, b, np.ndarray)


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else as_tensor(value, device=host_device())


def _compare_mappings(a: Mapping[Any, Any], b: Mapping[Any, Any], options: Options, key: Key) -> None:
    if set(a) != set(b):
        missing, more = ([k for k in x if k not in y] for x, y in ((b, a), (a, b)))
        raise Mismatch(
            AssertionError,
            f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {_in_order(missing)}\n"
            f"Additional keys in the actual mapping: {_in_order(more)}",
            key,
        )
    for k in _in_order(list(a)):
        _compare(a[k], b[k], options, (*key, k))


def _in_order(keys: list[Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:  # of several kinds
        return keys


def _compare_numbers(a: Any, b: Any, options: Options, key: Key) -> None:
    a, b = (v.item() if isinstance(v, np.generic) else v for v in (a, b))
    if options.check_dtype and type(a) is not type(b):
        raise Mismatch(AssertionError, f"The (d)types do not match: {type(a)} != {type(b)}.", key)
    kinds = {complex: dt.complex128, float: dt.float64}
    rtol, atol = options.tolerances(*(kinds.get(type(v), dt.int64) for v in (a, b)))
    if a == b or options.equal_nan and cmath.isnan(a) and cmath.isnan(b):
        return
    difference, size = abs(a - b), abs(b)
    if cmath.isfinite(complex(difference)) and difference <= atol + rtol * size:
        return
    relative = math.inf if b == 0 else difference / size
    raise Mismatch(AssertionError, _scalar_text(a, b, difference, relative, rtol, atol), key)


def _scalar_text(a: object, b: object, difference: float, relative: float, rtol: float, atol: float) -> str:
    exact = rtol == 0 and atol == 0
    allowed = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {b} but got {a}.\n"
        f"Absolute difference: {difference}{allowed[0]}\nRelative difference: {relative}{allowed[1]}"
    )


# -- tensors -----------------------------------------------------------------------------------------------
def _compare_tensors(a: Tensor, b: Tensor, options: Options, key: Key) -> None:
    _compare_attributes(a, b, options, key)
    rtol, atol = options.tolerances(a.dtype, b.dtype)
    if "meta" in (a.device.type, b.device.type):  # they have no values
        return
    common = promote_types(a.dtype, b.dtype)
    # In float64 no difference overflows or is rounded; half of the dtypes have no subtraction of their own.
    x, y = (host_array(t.detach().to(common)) for t in (a, b))
    with np.errstate(all="ignore"):
        _compare_arrays(x, y, common, (rtol, atol), options.equal_nan, key)


def _compare_attributes(a: Tensor, b: Tensor, options: Options, key: Key) -> None:
    looked_at: list[tuple[bool, str, object, object]] = [
        (True, "shape", a.shape, b.shape),
        (options.check_device, "device", a.device, b.device),
        (options.check_dtype, "dtype", a.dtype, b.dtype),
        (options.check_layout, "layout", a.layout, b.layout),
    ]
    for wanted, name, x, y in looked_at:
        if wanted and x != y:
            raise Mismatch(AssertionError, f"The values for attribute '{name}' do not match: {x} != {y}.", key)
    if options.check_stride and a.stride() != b.stride():
        raise Mismatch(
            AssertionError, f"The values for attribute 'stride()' do not match: {a.stride()} != {b.stride()}.", key
        )


def _compare_arrays(x: Any, y: Any, dtype: DType, tolerances: tuple[float, float], equal_nan: bool, key: Key) -> None:
    rtol, atol = tolerances
    kind = x.dtype.kind
    if kind == "b" or kind in "iu" and x.dtype != np.uint64:
        x, y = x.astype(np.int64), y.astype(np.int64)
    wide = {"c": np.complex128}.get(kind, np.float64 if kind not in "biu" else x.dtype)
    x, y = x.astype(wide), y.astype(wide)
    difference = np.where(x > y, x - y, y - x) if kind in "biu" else np.abs(x - y)
    size = np.abs(y)
    good = (x == y) | (np.isfinite(difference) & (difference <= atol + rtol * size.astype(np.float64)))
    if equal_nan and kind not in "biu":
        good |= np.isnan(x) & np.isnan(y)
    if good.all():
        return
    difference = np.where(good, 0, difference)
    relative = np.where(good, 0.0, difference / size)
    if x.ndim == 0:
        raise Mismatch(
            AssertionError,
            _scalar_text(x.item(), y.item(), difference.item(), relative.item(), rtol, atol),
            key,
        )
    raise Mismatch(AssertionError, _tensor_text(good, difference, relative, dtype, rtol, atol), key)


def _tensor_text(good: Any, difference: Any, relative: Any, dtype: DType, rtol: float, atol: float) -> str:
    exact = rtol == 0 and atol == 0
    wrong = int(good.size - np.count_nonzero(good))
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!",
        "",
        f"Mismatched elements: {wrong} / {good.size} ({wrong / good.size:.1%})",
    ]
    for name, values, limit in (("absolute", difference, atol), ("relative", relative, rtol)):
        place = np.unravel_index(int(np.argmax(values)), values.shape)
        shown: object = values[place].item()
        if name == "relative" and dtype not in (dt.float64, dt.complex128):
            shown = np.float32(values[place]).item()
        index = tuple(int(i) for i in place)
        allowed = "" if exact else f" (up to {limit} allowed)"
        lines.append(f"Greatest {name} difference: {shown} at index {index}{allowed}")
    return "\n".join(lines)
