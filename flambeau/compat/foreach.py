"""``torch._foreach_*``: one operation for each tensor of a list, out of place as a tuple, in place as the list itself.

What goes with the tensors is one number for all, one tensor of one number, a list of numbers, or a list of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from flambeau.core.tensor import Tensor
from flambeau.linalg import vector_norm

__all__ = ["FUNCTIONS"]

Each = Callable[..., Any]  # Any: a method of Tensor, or a function like one
Many = Any  # a number, a tensor of one, or a list of either

UNARY: Final = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma", "log",
    "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan",
    "tanh", "trunc",
)  # fmt: skip


def _tensors(values: Any, name: str, position: int = 0) -> list[Tensor]:
    """A list of tensors, or an error in torch's words."""
    if not isinstance(values, (list, tuple)):
        kind = type(values).__name__
        raise TypeError(f"{name}(): argument 'self' (position {position + 1}) must be tuple of Tensors, not {kind}")
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument {position}, but got {type(value).__name__}")
    if not values:
        raise RuntimeError("Tensor list must have at least one tensor.")
    return list(values)


def _spread(values: Many, count: int) -> Sequence[Any]:
    """One value for each of ``count`` tensors."""
    if isinstance(values, (list, tuple)):
        if len(values) != count:
            if all(isinstance(v, Tensor) for v in values):
                raise RuntimeError(f"Tensor lists must have the same number of tensors, got {count} and {len(values)}")
            raise RuntimeError("Tensor list must have same number of elements as scalar list.")
        return values
    if isinstance(values, Tensor) and values.ndim:
        size = f"{values.ndim} dimensions and {values.numel()} elements"
        raise RuntimeError(f"scalar tensor expected to be 0 dim but it has {size}.")
    return [values] * count


def _values(value: Many, count: int) -> Sequence[Any]:
    """The factors of addcmul and addcdiv, which may also stand in one tensor."""
    return _spread(value.tolist() if isinstance(value, Tensor) and value.ndim else value, count)


def _made(name: str, each: Each, call: Each) -> Each:
    """``call`` under a name; it gets how to treat one tensor, and its results become a tuple, or ``self``."""
    full = f"_foreach_{name}"

    def function(self: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        results = call(each, _tensors(self, full), *args, **kwargs)
        return self if name.endswith("_") else tuple(results)

    function.__name__ = function.__qualname__ = full
    function.__module__ = "flambeau"
    function.__doc__ = f"``{name.rstrip('_')}`` of each tensor{', in place' if name.endswith('_') else ''}."
    return function


def _unary(each: Each, tensors: list[Tensor]) -> list[Any]:
    return [each(t) for t in tensors]


def _binary(each: Each, tensors: list[Tensor], other: Many = None, **kwargs: Any) -> list[Any]:
    [given] = [other] if other is not None else kwargs.values() or [None]
    return [each(t, o) for t, o in zip(tensors, _spread(given, len(tensors)), strict=True)]


def _scaled(each: Each, tensors: list[Tensor], other: Many, *, alpha: float = 1) -> list[Any]:
    return [each(t, o, alpha=alpha) for t, o in zip(tensors, _spread(other, len(tensors)), strict=True)]


def _lerp(each: Each, tensors: list[Tensor], tensors1: Sequence[Tensor], weight: Many) -> list[Any]:
    n = len(tensors)
    return [each(*row) for row in zip(tensors, _spread(tensors1, n), _spread(weight, n), strict=True)]


def _addc(
    each: Each, tensors: list[Tensor], tensor1: Sequence[Tensor], tensor2: Sequence[Tensor], value: Many = 1,
    scalars: Many = None,
) -> list[Any]:  # fmt: skip
    n = len(tensors)
    rows = zip(tensors, _spread(tensor1, n), _spread(tensor2, n), strict=True)
    factors = _values(value if scalars is None else scalars, n)
    return [each(*row, value=factor) for row, factor in zip(rows, factors, strict=True)]


def _norm(each: Each, tensors: list[Tensor], ord: float = 2, dtype: Any = None) -> list[Any]:
    return [each(t, ord, dtype=dtype) for t in tensors]


def _powers(t: Tensor, ord: float, dtype: Any = None) -> Tensor:
    return (t if dtype is None else t.to(dtype)).abs().pow(ord).sum()


def _copy_(each: Each, tensors: list[Tensor], src: Sequence[Tensor], non_blocking: bool = False) -> list[Any]:
    return [each(t, s, non_blocking) for t, s in zip(tensors, _spread(src, len(tensors)), strict=True)]


def _at_most(t: Tensor, limit: Any) -> Tensor:
    return t.clamp(max=limit)


def _at_least(t: Tensor, limit: Any) -> Tensor:
    return t.clamp(min=limit)


def _in_place(each: Each) -> Each:
    return lambda t, *args, **kwargs: t.copy_(each(t, *args, **kwargs))


def _functions() -> dict[str, Each]:
    calls: dict[str, tuple[Each, Each]] = {name: (getattr(Tensor, name), _unary) for name in UNARY}
    calls |= {name: (getattr(Tensor, name), _scaled) for name in ("add", "sub")}
    calls |= {name: (getattr(Tensor, name), _binary) for name in ("mul", "div", "pow")}
    calls |= {name: (_at_most, _binary) for name in ("clamp_max", "minimum")}
    calls |= {name: (_at_least, _binary) for name in ("clamp_min", "maximum")}
    calls |= {name: (getattr(Tensor, name), _addc) for name in ("addcmul", "addcdiv")}
    calls["lerp"] = (Tensor.lerp, _lerp)
    both: dict[str, tuple[Each, Each]] = {}
    for name, (each, call) in calls.items():
        both[name] = each, call
        both[f"{name}_"] = getattr(Tensor, f"{name}_", None) or _in_place(each), call
    both |= {"zero_": (Tensor.zero_, _unary), "clone": (Tensor.clone, _unary), "max": (Tensor.max, _unary)}
    both |= {"norm": (vector_norm, _norm), "powsum": (_powers, _norm), "mm": (Tensor.mm, _binary)}
    both["copy_"] = Tensor.copy_, _copy_
    return {f"_foreach_{name}": _made(name, each, call) for name, (each, call) in both.items()}


FUNCTIONS: Final = _functions()
_pow = FUNCTIONS["_foreach_pow"]


def _foreach_pow(self: Sequence[Tensor] | float, exponent: Many) -> Any:
    """Each tensor to a power, or one number to the powers that the tensors are."""
    if isinstance(self, (list, tuple)):
        return _pow(self, exponent)
    return tuple(t.__rpow__(self) for t in _tensors(exponent, "_foreach_pow", 1))


_foreach_pow.__module__ = "flambeau"
FUNCTIONS["_foreach_pow"] = _foreach_pow
