"""Random numbers: by the seed of the node, or by flambeau's own generator."""

from __future__ import annotations

import flambeau as fb
from flambeau import Tensor
from flambeau.core.dtype import DType
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import DTYPES, bounded


def _generator(call: Call) -> fb.Generator | None:
    if call["seed"] is None:
        return None
    return fb.Generator(device=call.device).manual_seed(int(call["seed"]) & 0xFFFFFFFF)


def _drawn(call: Call, shape: tuple[int, ...], dtype: DType) -> Tensor:
    sizes, normal = bounded(shape), call.step.op_type.startswith("RandomNormal")
    draws = (fb.randn if normal else fb.rand)(sizes, generator=_generator(call), device=call.device)
    scale, start = (call["scale"], call["mean"]) if normal else (call["high"] - call["low"], call["low"])
    moved: Tensor = draws * scale + start
    return moved.to(dtype)


@op("RandomNormal", "RandomUniform")
def drawn(call: Call) -> Tensor:
    return _drawn(call, tuple(call["shape"]), DTYPES[call["dtype"]])


@op("RandomNormalLike", "RandomUniformLike")
def drawn_like(call: Call, x: Tensor) -> Tensor:
    return _drawn(call, tuple(x.shape), x.dtype if call["dtype"] is None else DTYPES[call["dtype"]])


@op("Bernoulli")
def bernoulli(call: Call, x: Tensor) -> Tensor:
    draws = fb.rand(x.shape, generator=_generator(call), device=x.device)
    return (draws < x).to(x.dtype if call["dtype"] is None else DTYPES[call["dtype"]])


@op("Multinomial")
def multinomial(call: Call, x: Tensor) -> Tensor:
    """The inputs are logarithms of probabilities, up to a number added to each row."""
    weights = fb.softmax(x.to(fb.float32), 1)
    drawn = fb.multinomial(weights, call["sample_size"], replacement=True, generator=_generator(call))
    return drawn.to(DTYPES[call["dtype"]])
