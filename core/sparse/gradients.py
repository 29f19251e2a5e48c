"""Gradients of and by sparse tensors: those of their values; and functions of dense tensors with sparse gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core.autograd import api
from flambeau.core.autograd.function import Function
from flambeau.core.dtype import int64
from flambeau.core.ops.nn.sparse import embedding_p
from flambeau.core.overrides import make_overridable
from flambeau.core.sparse.convert import coalesce, to_dense, values_at
from flambeau.core.sparse.tensor import SparseTensor, answers, coo, with_values
from flambeau.core.tensor import Tensor


class _Embedding(Function):
    """Rows of a matrix by number, with a gradient that has those rows alone."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, input: Tensor, padding: int, by_frequency: bool) -> Tensor:
        ctx.save_for_backward(input)
        ctx.padding, ctx.shape, ctx.by_frequency = padding, tuple(weight.shape), by_frequency
        return embedding_p(weight, input, padding)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        if ctx.by_frequency:
            raise RuntimeError("embedding: scale_grad_by_freq=True has no sparse gradient; leave sparse=False")
        (input,) = ctx.saved_tensors
        rows, held = input.reshape((-1,)).to(int64), g.reshape((-1, ctx.shape[1]))
        if ctx.padding >= 0:
            found = (rows != ctx.padding).nonzero().squeeze(1)
            rows, held = rows.index_select(0, found), held.index_select(0, found)
        return coo(rows.unsqueeze(0), held, ctx.shape), None, None, None


def embedding(weight: Tensor, input: Tensor, padding: int, by_frequency: bool) -> Tensor:
    """The rows of ``weight`` that ``input`` names; the gradient of ``weight`` is sparse, and not ``by_frequency``."""
    found: Tensor = _Embedding.apply(weight, input, padding, by_frequency)
    return found


# -- backward and grad ---------------------------------------------------------------------------------
def _held(x: Any) -> Any:  # Any: tensors, edges and what else is given
    return x._held if isinstance(x, SparseTensor) else x


def _weights(outputs: Sequence[Any], grads: Any) -> Any:
    """The gradients of the outputs, of sparse ones those at the places that they hold."""
    if grads is None:
        return None
    pairs = zip(outputs, api.as_tuple(grads), strict=False)
    return tuple(
        values_at(g, o) if isinstance(o, SparseTensor) and g is not None else
        to_dense(g) if isinstance(g, SparseTensor) else g
        for o, g in pairs
    )  # fmt: skip


@answers("grad")
def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    outs, ins = api.as_tuple(outputs), api.as_tuple(inputs)
    found = api.grad(
        tuple(_held(o) for o in outs), tuple(_held(i) for i in ins), _weights(outs, grad_outputs), *args, **kwargs
    )
    return tuple(
        with_values(i, g) if isinstance(i, SparseTensor) and g is not None else g
        for i, g in zip(ins, found, strict=True)
    )


@answers("backward")
def backward(tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> None:
    outs = api.as_tuple(tensors)
    if "gradient" in kwargs:
        grad_tensors = kwargs.pop("gradient")
    if kwargs.get("inputs") is not None:
        kwargs["inputs"] = tuple(_held(i) for i in api.as_tuple(kwargs["inputs"]))
    api.backward(tuple(_held(o) for o in outs), _weights(outs, grad_tensors), *args, **kwargs)


make_overridable(api.grad)
make_overridable(api.backward)


# -- gradcheck ---------------------------------------------------------------------------------------
def as_sparse_gradcheck(gradcheck: Callable[..., bool]) -> Callable[..., bool]:
    """``gradcheck`` (or ``gradgradcheck``) for functions of sparse tensors.

    Each sparse input is varied in its values, at the places that it holds; a sparse result is looked at as a dense
    one. With ``masked=True`` or without: the zeros of a sparse tensor are no inputs here.

    >>> check = fb.sparse.as_sparse_gradcheck(fb.autograd.gradcheck)
    >>> check(lambda s: s.to_dense() ** 2, fb.eye(2, dtype=fb.float64).to_sparse().requires_grad_())
    True
    """

    def checked(func: Callable[..., Any], inputs: Any, **kwargs: Any) -> bool:
        given = tuple(coalesce(x) if isinstance(x, SparseTensor) and x.is_sparse else x for x in api.as_tuple(inputs))
        kwargs.pop("masked", None)

        def of_values(*parts: Any) -> Any:
            outs = func(
                *(with_values(x, p) if isinstance(x, SparseTensor) else p for x, p in zip(given, parts, strict=True))
            )
            made = tuple(to_dense(o) if isinstance(o, SparseTensor) else o for o in api.as_tuple(outs))
            return made if isinstance(outs, (tuple, list)) else made[0]

        leaves = tuple(
            x._held.detach().requires_grad_(x.requires_grad) if isinstance(x, SparseTensor) else x for x in given
        )
        return gradcheck(of_values, leaves, **kwargs)

    return checked


__all__ = ["as_sparse_gradcheck"]
