"""The text of a tensor, character for character as PyTorch prints it, from its values on the host.

Finite values decide the form: all integral ones print as ``2.``, a large range or magnitude switches to
scientific notation, and everything else has ``precision`` digits. Above ``threshold`` elements only
``edgeitems`` at both ends of each axis are shown.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from flambeau.core import dispatch
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.overrides import overrides
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """What :func:`set_printoptions` sets; ``sci_mode`` None means that the values decide."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES: Final = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}
_options = PrintOptions()


def get_printoptions() -> PrintOptions:
    """The options in force."""
    return _options


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Set how tensors print; what is not given stays, except ``sci_mode``, which None gives back to the values.

    Args:
        precision: digits after the point (4).
        threshold: more elements than this are summarised (1000); ``math.inf`` for never.
        edgeitems: how many are shown at each end of an axis then (3).
        linewidth: characters in a line (80).
        profile: "default", "short" or "full": sets the first four, before those that are given.
        sci_mode: True or False forces scientific notation on or off.

    >>> fb.set_printoptions(precision=2)
    >>> fb.tensor([1 / 3])
    tensor([0.33])
    >>> fb.set_printoptions(profile="default")
    """
    global _options
    base = _options
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, got {profile!r}")
        base = _PROFILES[profile]
    numbers = dict(precision=precision, threshold=threshold, edgeitems=edgeitems, linewidth=linewidth)
    given: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, (int, float)):
            raise TypeError(f"set_printoptions: {name} must be a number, got {value!r}")
    _options = replace(base, sci_mode=sci_mode, **given)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """The options of :func:`set_printoptions`, for the statements inside only."""
    global _options
    before = _options
    set_printoptions(**options)
    try:
        yield
    finally:
        _options = before


def format_tensor(
    host: np.ndarray[Any, Any] | None, *, dtype: DType, shape: Sequence[int] | None = None, device: str | None = None,
    suffixes: Sequence[str] = (), prefix: str = "tensor(",
) -> str:  # fmt: skip
    """``tensor(...)`` with everything that PyTorch shows.

    Args:
        host: the values; None for a tensor without data, whose ``shape`` is shown in their place.
        dtype: the tensor's dtype, shown unless it is a default one.
        device: its name, where that is to be shown.
        suffixes: further texts in their order, such as ``requires_grad=True``.
        prefix: what stands before the values: of subclasses, their name.

    >>> format_tensor(np.array([[1.0, 2.5]]), dtype=dt.float64, suffixes=["requires_grad=True"])
    'tensor([[1.0000, 2.5000]], dtype=flambeau.float64, requires_grad=True)'
    """
    shape = tuple(host.shape if shape is None and host is not None else shape or ())
    empty = 0 in shape
    shown = [] if device is None else [f"device='{device}'"]
    if host is None or (empty and len(shape) != 1):
        shown.append(f"size={shape}")
    if not _is_default(dtype, values_shown=host is not None and not empty):
        shown.append(f"dtype={dtype}")
    if host is None:
        body = "..."
    else:
        body = "[]" if empty else _body(host, dtype, len(prefix))
    return _join_suffixes(prefix + body, [*shown, *suffixes], len(prefix))


def format_parts(
    parts: Sequence[tuple[str, Tensor, DType | None]], sizes: Sequence[str], suffixes: Sequence[str], own_line: bool
) -> str:
    """``tensor(indices=tensor(...), values=tensor(...), size=..., ...)``: a tensor that is held as several.

    Args:
        parts: name, tensor, and the dtype that is shown behind ``sizes`` where it is no default one.
        sizes: texts before the dtype, ``suffixes`` those behind it.
        own_line: whether ``sizes`` begin a line.
    """
    lines, shown = [], [*sizes]
    for name, t, dtype in parts:
        head = f"{name}=tensor("
        empty = 0 in t.shape
        body = "[]" if empty else _body(t._host(), t.dtype, len("tensor(") + len(head))
        lines.append(head + body + (f", size={tuple(t.shape)})" if empty else ")"))
        if dtype is not None and not _is_default(dtype, values_shown=not empty):
            shown.append(f"dtype={dtype}")
    text = "tensor(" + (",\n" + " " * 7).join(lines)
    if own_line:
        text += ",\n" + " " * 7 + shown.pop(0)
    return _join_suffixes(text, [*shown, *suffixes], 7)


def print_device(t: Tensor) -> list[str]:
    """The device among the suffixes of ``t``: nothing where it is the host."""
    return [] if t._key.backend.has("shares_host") else [f"device='{t.device}'"]


def _is_default(dtype: DType, values_shown: bool) -> bool:
    """Whether a reader knows the dtype without being told: from the values, if there are any."""
    default = dt.get_default_dtype()
    if not values_shown:
        return dtype is default
    return dtype in (default, default.to_complex(), dt.int64, dt.bool_)


def _join_suffixes(text: str, suffixes: Sequence[str], indent: int) -> str:
    line = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if line + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            line = indent + len(suffix)
        else:
            text += ", " + suffix
            line += len(suffix) + 2
    return text + ")"


# -- the numbers -------------------------------------------------------------------------------------


def _body(host: np.ndarray[Any, Any], dtype: DType, indent: int) -> str:
    nested = _summarised(host, host.size > _options.threshold)
    numbers = _formatter(dtype, _flat(nested))
    if host.ndim == 0:
        return numbers.format(nested)
    return _block(nested, host.ndim, numbers, indent)


def _summarised(host: np.ndarray[Any, Any], summarise: bool) -> Any:
    """The values as nested lists, ``...`` standing for what is left out."""
    edge = _options.edgeitems
    if not summarise or host.ndim == 0:
        return host.tolist()
    if host.shape[0] <= 2 * edge:
        return [_summarised(row, True) for row in host] if host.ndim > 1 else host.tolist()
    tail = len(host) - edge  # not -edge, which would take everything when edge is 0
    return [*_summarised_rows(host[:edge]), ..., *_summarised_rows(host[tail:])]


def _summarised_rows(host: np.ndarray[Any, Any]) -> list[Any]:
    return [_summarised(row, True) for row in host] if host.ndim > 1 else host.tolist()


def _flat(nested: Any) -> list[Any]:
    if nested is ...:
        return []
    if not isinstance(nested, list):
        return [nested]
    return [value for item in nested for value in _flat(item)]


class _Integers:
    """Integers and bools: as Python prints them, padded to one width."""

    def __init__(self, values: Sequence[Any]):
        self.width = max((len(str(v)) for v in values), default=1)

    def format(self, value: Any) -> str:
        return str(value).rjust(self.width)


class _Floats:
    """Real numbers in one of three forms: ``2.``, ``2.5000`` or ``2.5000e+00``."""

    def __init__(self, values: Sequence[float]):
        finite = [v for v in values if v != 0 and math.isfinite(v)]
        self.integral = all(v == math.ceil(v) for v in finite)
        self.scientific = bool(finite) and _wants_exponent(finite, self.integral)
        self.width = max((len(self._text(v)) for v in finite), default=1)

    def _text(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{_options.precision}e}"
        if self.integral:
            return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
        return f"{value:.{_options.precision}f}"

    def format(self, value: float) -> str:
        return self._text(value).rjust(self.width)


def _wants_exponent(finite: Sequence[float], integral: bool) -> bool:
    if _options.sci_mode is not None:
        return _options.sci_mode
    low, high = min(map(abs, finite)), max(map(abs, finite))
    return high / low > 1000 or high > 1e8 or (not integral and low < 1e-4)


class _Complexes:
    """``real+imagj``, each part in a form of its own."""

    def __init__(self, values: Sequence[complex]):
        self.real = _Floats([v.real for v in values])
        self.imag = _Floats([v.imag for v in values])
        self.width = self.real.width + self.imag.width + 1

    def format(self, value: complex) -> str:
        imag = self.imag.format(value.imag).lstrip()
        sign = "" if imag[0] in "+-" else "+"
        return f"{self.real.format(value.real)}{sign}{imag}j"


_Formatter = _Integers | _Floats | _Complexes


def _formatter(dtype: DType, values: Sequence[Any]) -> _Formatter:
    if dtype.is_complex:
        return _Complexes(values)
    return _Floats(values) if dtype.is_floating_point else _Integers(values)


# -- the brackets ------------------------------------------------------------------------------------


def _block(nested: list[Any], ndim: int, numbers: _Formatter, indent: int) -> str:
    if ndim == 1:
        return _row(nested, numbers, indent)
    parts = ["..." if item is ... else _block(item, ndim - 1, numbers, indent + 1) for item in nested]
    return "[" + ("," + "\n" * (ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _row(values: list[Any], numbers: _Formatter, indent: int) -> str:
    per_line = max(1, (_options.linewidth - indent) // (numbers.width + 2))
    parts = [" ..." if v is ... else numbers.format(v) for v in values]
    lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


@public("__repr__", function=False)
def represent(t: Tensor) -> str:
    """``repr(t)``: its values, its history, and its device where that is not the host."""
    key = t._key
    level = key.level
    if level is not None:
        return f"{level.kind} tensor(shape={tuple(t.shape)}, dtype={key.dtype}, {level.describe(t._array)})"
    suffixes = []
    kind = type(t)
    plain = not overrides(kind)
    prefix = "tensor(" if plain else f"{kind.__name__}("
    grad_fn = t.grad_fn
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    host = None if key.backend.has("no_data") else dispatch._detached(t)._host()
    if host is not None and key.dtype in dt.HELD:
        host = host.astype("float32")
    device = None if key.backend.has("shares_host") else str(key.device)
    text = format_tensor(host, dtype=key.dtype, shape=tuple(t.shape), device=device, suffixes=suffixes,
                         prefix=prefix)  # fmt: skip
    if plain:
        return f"Parameter containing:\n{text}" if t._is_parameter else text
    return f"Parameter({text})" if getattr(t, "_is_param", False) else text
