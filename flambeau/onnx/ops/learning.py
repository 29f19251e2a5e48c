"""Smaller ops of classical machine learning: encoders, scalers and linear models."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops.conversion import like
from flambeau.onnx.ops.indexing import positive
from flambeau.onnx.ops.texts import array
from flambeau.onnx.ops.trees import transformed
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import ML, op
from flambeau.onnx.values import Value, described, element, shape_of

_KINDS = {"strings": object, "int64s": fb.int64, "floats": fb.float32}


@op("ArrayFeatureExtractor", domain=ML, layout=True)
def extract(call: Call, x: Tensor, places: Tensor) -> Tensor:
    """The columns at these places."""
    out = x.index_select(-1, positive(places.reshape(-1), x.shape[-1]))
    return out if x.ndim > 1 else out.reshape((1, -1))


@op("Binarizer", domain=ML)
def binarize(call: Call, x: Tensor) -> Tensor:
    return fb.gt(x, call["threshold"]).to(x.dtype)


@op("LabelEncoder", domain=ML, since=2, raw=True)
def encode(call: Call, x: Value) -> Value:
    """Each key to the value beside it, others to the default."""
    keys, values, to = _entries(call, "keys"), _entries(call, "values"), None
    if len(keys) != len(values):
        raise OnnxError(f"{len(keys)} keys stand beside {len(values)} values")
    default, to = _default(call)
    table = {_key(k): v for k, v in zip(keys, values, strict=True)}
    x = like(x, call.device)
    items: list[Any] = x.reshape(-1).tolist() if isinstance(x, (np.ndarray, Tensor)) else []
    found = [table.get(_key(v), default) for v in items]
    if to is object:
        return array(found, shape_of(x))
    return fb.tensor(found, dtype=to, device=call.device).reshape(shape_of(x))


def _key(value: object) -> object:
    return "NaN" if isinstance(value, float) and value != value else (type(value), value)


def _entries(call: Call, what: str) -> list[Any]:
    for kind in _KINDS:
        if call[f"{what}_{kind}"] is not None:
            return list(call[f"{what}_{kind}"])
    if call[f"{what}_tensor"] is None:
        raise OnnxError(f"the {what} of the encoder are missing")
    tensor = like(call[f"{what}_tensor"], call.device)
    return tensor.reshape(-1).tolist() if isinstance(tensor, (np.ndarray, Tensor)) else []


def _default(call: Call) -> tuple[Any, Any]:
    """What stands for keys that are not known, and the dtype of the values."""
    names = {"strings": "default_string", "int64s": "default_int64", "floats": "default_float"}
    for kind, name in names.items():
        if call[f"values_{kind}"] is not None:
            return call[name], _KINDS[kind]
    tensor = like(call["values_tensor"], call.device)
    given = like(call["default_tensor"], call.device)
    if isinstance(tensor, np.ndarray):
        return given.reshape(-1)[0] if isinstance(given, np.ndarray) else "_Unused", object
    if not isinstance(tensor, Tensor):
        raise OnnxError(f"values are texts or numbers, not {described(tensor)}")
    usual = -0.0 if tensor.is_floating_point() else -1
    return given.reshape(-1)[0].item() if isinstance(given, Tensor) else usual, tensor.dtype


@op("Scaler", domain=ML)
def scale(call: Call, x: Tensor) -> Tensor:
    wide = x.to(fb.float32)
    offset, factor = (
        fb.tensor(call[n] or (d,), dtype=fb.float32, device=x.device) for n, d in (("offset", 0.0), ("scale", 1.0))
    )
    return (wide - offset) * factor


@op("Normalizer", domain=ML)
def normalise(call: Call, x: Tensor) -> Tensor:
    """Rows over their greatest size, their sum of sizes, or their length; rows of zeros stay."""
    wide, how = x.to(fb.float32), call["norm"]
    sizes = {
        "MAX": lambda: fb.amax(wide.abs(), -1, keepdim=True),
        "L1": lambda: wide.abs().sum(-1, keepdim=True),
        "L2": lambda: fb.sqrt((wide * wide).sum(-1, keepdim=True)),
    }
    if how not in sizes:
        raise OnnxError(f"there is no norm {how!r}")
    size = sizes[how]()
    return fb.where(size == 0, wide, wide / size)


@op("Imputer", domain=ML)
def impute(call: Call, x: Tensor) -> Tensor:
    """Another number in the place of the one that stands for a missing one."""
    floating = x.is_floating_point()
    values = call["imputed_value_floats"] if floating else call["imputed_value_int64s"]
    replaced = call["replaced_value_float"] if floating else call["replaced_value_int64"]
    if not values:
        raise OnnxError("no values to put in are given")
    missing = fb.isnan(x) if replaced != replaced else x == replaced
    return fb.where(missing, fb.tensor(values, dtype=x.dtype, device=x.device), x)


@op("OneHotEncoder", domain=ML, raw=True)
def one_hot(call: Call, x: Value) -> Tensor:
    """A 1 at the place of each category; without ``zeros`` a category that is not known is an error."""
    x = like(x, call.device)
    categories = call["cats_strings"] if call["cats_strings"] is not None else call["cats_int64s"]
    if not isinstance(x, (np.ndarray, Tensor)) or categories is None:
        raise OnnxError(f"categories of {described(x)} are not given")
    place = {c: i for i, c in enumerate(categories)}
    items: list[Any] = x.reshape(-1).tolist()
    if not call["zeros"] and any(v not in place for v in items):
        raise OnnxError("a value is in no category")
    rows = [[float(place.get(v) == i) for i in range(len(categories))] for v in items]
    return fb.tensor(rows, device=call.device).reshape((*shape_of(x), len(categories)))


@op("FeatureVectorizer", domain=ML)
def vectorise(call: Call, *values: Tensor) -> Tensor:
    """Columns beside one another, each input cut or filled to the width given for it."""
    made = []
    for value, width in zip(values, call["inputdimensions"], strict=True):
        rows = value.to(fb.float32).reshape((value.shape[0], -1))
        made.append(fb.nn.functional.pad(rows, (0, width - rows.shape[1])))
    return fb.cat(made, 1)


@op("LinearRegressor", domain=ML)
def linear_regressor(call: Call, x: Tensor) -> Tensor:
    weights = fb.tensor(call["coefficients"], dtype=fb.float32, device=x.device).reshape((call["targets"], -1))
    out = fb.matmul(x.to(fb.float32), weights.t())
    if call["intercepts"]:
        out = out + fb.tensor(call["intercepts"], dtype=fb.float32, device=x.device)
    return transformed(call, out)


@op("CategoryMapper", domain=ML, raw=True)
def map_category(call: Call, x: Value) -> Value:
    """Texts to numbers, or numbers to texts."""
    texts, numbers = call["cats_strings"] or (), call["cats_int64s"] or ()
    x = like(x, call.device)
    if not isinstance(x, (np.ndarray, Tensor)):
        raise OnnxError(f"texts or whole numbers are wanted, not {described(x)}")
    items: list[Any] = x.reshape(-1).tolist()
    if element(x) == 8:
        to_number = dict(zip(texts, numbers, strict=True))
        found = [to_number.get(v, call["default_int64"]) for v in items]
        return fb.tensor(found, dtype=fb.int64, device=call.device).reshape(shape_of(x))
    to_text = dict(zip(numbers, texts, strict=True))
    return array([to_text.get(v, call["default_string"]) for v in items], shape_of(x))
