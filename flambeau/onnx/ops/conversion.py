"""Conversions between element types, those that no op computes in among them."""

from __future__ import annotations

import numpy as np

import flambeau as fb
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops import hosted
from flambeau.onnx.plan import Call, moved
from flambeau.onnx.registry import op
from flambeau.onnx.values import DTYPES, KINDS, STRING, Ints, Kind, Narrow, Texts, Value, element, element_name


@op("Cast", since=1, raw=True)
def cast_first(call: Call, x: Value) -> Value:
    """Before version 6 the type is named."""
    names = {"FLOAT": 1, "DOUBLE": 11} | {dtype.name.upper(): number for number, dtype in DTYPES.items()}
    if call["to"].upper() not in names:
        raise call.refuse(f"a cast to {call['to']!r}")
    return converted(call, x, names[call["to"].upper()])


@op("Cast", since=6, raw=True)
def cast(call: Call, x: Value) -> Value:
    quick = hosted.cast(call, x) if isinstance(x, Ints) else None
    return converted(call, x, call["to"]) if quick is None else quick


@op("CastLike", raw=True)
def cast_like(call: Call, x: Value, like: Value) -> Value:
    return converted(call, x, element(like))


def converted(call: Call, x: Value, number: int) -> Value:
    """``x`` as the element type ``number``."""
    if isinstance(x, Ints):
        x = x.tensor(call.device)
    if isinstance(x, np.ndarray):
        return x if number == STRING else _from_texts(call, x, number)
    source: Tensor = x.tensor if isinstance(x, Narrow) else x  # type: ignore[assignment]  # of a tensor's kinds, these
    if number == element(x):
        return x
    if number == STRING:
        return _to_texts(source)
    if number in KINDS:
        saturate = call["saturate"] is None or bool(call["saturate"])
        return narrowed(source, KINDS[number], saturate=saturate, up=call["round_mode"] or "up")
    return source.to(DTYPES[number])


def _from_texts(call: Call, texts: Texts, number: int) -> Value:
    if number in KINDS:
        return converted(call, _from_texts(call, texts, 1), number)
    dtype = DTYPES[number]
    read = float if dtype.is_floating_point else (lambda t: t.lower() in ("1", "true")) if dtype is bool_ else int
    try:
        made = [read(t) for t in texts.reshape(-1).tolist()]
    except ValueError as e:
        raise OnnxError(f"no {element_name(number)} is in a text: {e}") from None
    return fb.tensor(made, dtype=dtype, device=call.device).reshape(texts.shape)


def _to_texts(x: Tensor) -> Texts:
    """Numbers as Python writes the shortest text that reads back as the same number."""
    array = x.detach().cpu().to(fb.float32 if x.dtype is fb.bfloat16 else x.dtype).numpy()
    made = np.array([str(v) for v in array.reshape(-1)], dtype=object)
    return made.reshape(array.shape)


def narrowed(x: Tensor, kind: Kind, *, saturate: bool = True, up: str = "up") -> Narrow:
    """The nearest numbers of a narrow kind, ties to even; too large ones become the largest, or overflow."""
    if not kind.floating:
        return Narrow(_wrapped(x, kind), kind)
    x = x.to(fb.float32)
    if kind.digits == 0:
        return Narrow(_powers(x, kind, saturate=saturate, mode=up), kind)
    exponent = (fb.frexp(x)[1] - 1).clamp(min=kind.least)
    step = fb.ldexp(fb.ones_like(x), exponent - kind.digits)
    y = fb.round(x / step) * step
    too_large = y.abs() > kind.largest
    if saturate or not kind.nan:
        y = y.clamp(-kind.largest, kind.largest)
        y = fb.where(fb.isnan(x), x if kind.nan else fb.full_like(x, -0.0), y)
    else:
        over = fb.copysign(fb.full_like(y, fb.inf), y) if kind.infinite else fb.full_like(y, fb.nan)
        y = fb.where(too_large, over, y)
    return Narrow(y + 0.0 if kind.name.endswith("fnuz") else y, kind)  # those have one zero


def _wrapped(x: Tensor, kind: Kind) -> Tensor:
    """Whole numbers modulo the kind's count; floating ones are cut to whole ones first."""
    least, most = kind.range
    whole = x.to(fb.int32)
    return (((whole - least) & (most - least)) + least).to(kind.carrier)


def _powers(x: Tensor, kind: Kind, *, saturate: bool, mode: str) -> Tensor:
    """Powers of two; there is no zero, and no sign."""
    fraction, exponent = fb.frexp(x)
    below = exponent - 1
    exact = fraction == 0.5
    if mode == "up":
        power = fb.where(exact, below, exponent)
    elif mode == "down":
        power = below
    else:
        power = fb.where(fraction >= 0.75, exponent, below)
    top = 127
    made = fb.ldexp(fb.ones_like(x), power.clamp(kind.least, top))
    low = fb.full_like(x, 2.0**kind.least)
    made = fb.where(x == 0, low, made)
    over = fb.full_like(x, kind.largest if saturate else fb.nan)
    made = fb.where((power > top) | fb.isinf(x), over, made)
    return fb.where(fb.isnan(x) | (x < 0), fb.full_like(x, fb.nan), made)


@op("BitCast", raw=True)
def bit_cast(call: Call, x: Value) -> Value:
    """The same bits as another type of the same width."""
    if isinstance(x, Ints):
        x = x.tensor(call.device)
    number = call["to"]
    if not isinstance(x, Tensor) or number not in DTYPES:
        raise call.refuse(f"from {element_name(element(x))} to {element_name(number)}")
    to = DTYPES[number]
    if to.itemsize != x.dtype.itemsize:
        raise OnnxError(f"{x.dtype.name} and {to.name} differ in width")
    if bool_ in (to, x.dtype):
        return x.to(to) if x.dtype is bool_ else x != 0
    return x.view(to)


def like(x: Value, device: fb.device) -> Value:
    """The value on the device, numbers on the host as a tensor."""
    return x.tensor(device) if isinstance(x, Ints) else moved(x, device)
