"""``grad`` with all of torch's arguments: a batch of gradients is mapped over."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal, overload

from flambeau.core.autograd import api
from flambeau.core.blame import explain_functions
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.vmap import vmap


@overload
def grad(
    outputs: api.Roots, inputs: dict[str, Tensor], grad_outputs: api.Gradients = None, retain_graph: bool | None = None,
    create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
    is_grads_batched: bool = False, materialize_grads: bool = False,
) -> dict[str, Tensor | None]: ...  # fmt: skip
@overload
def grad(
    outputs: api.Roots, inputs: api.Roots, grad_outputs: api.Gradients = None, retain_graph: bool | None = None,
    create_graph: bool = False, only_inputs: bool = True, allow_unused: Literal[False] | None = None,
    is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Tensor, ...]: ...  # fmt: skip
@overload
def grad(
    outputs: api.Roots, inputs: api.Roots, grad_outputs: api.Gradients = None, retain_graph: bool | None = None,
    create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
    is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]: ...  # fmt: skip
def grad(
    outputs: api.Roots, inputs: api.Roots | dict[str, Tensor], grad_outputs: api.Gradients = None,
    retain_graph: bool | None = None, create_graph: bool = False, only_inputs: bool = True,
    allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...] | dict[str, Tensor | None]:  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, without touching any ``grad``: of a dict's, a dict.

    An input that was not used raises, or gives None with ``allow_unused``, or zeros with ``materialize_grads``.
    With ``is_grads_batched`` the first axis of each of ``grad_outputs`` is mapped over. ``only_inputs`` is an old
    switch: gradients are those of the inputs, and False warns.

    >>> x = fb.tensor(2.0, requires_grad=True)
    >>> (g,) = fb.autograd.grad(x**3, x, create_graph=True)
    >>> fb.autograd.grad(g, x)
    (tensor(12.),)
    """
    if not only_inputs:
        warnings.warn("grad: only_inputs=False is ignored; use backward() to accumulate", FutureWarning, stacklevel=2)
    if isinstance(inputs, Mapping):
        if inputs.__class__ is not dict:
            raise TypeError(f"grad: inputs that have names must be a dict, got {type(inputs).__name__}")
        found = grad(outputs, tuple(inputs.values()), grad_outputs, retain_graph, create_graph, True, allow_unused,
                     is_grads_batched, materialize_grads)  # fmt: skip
        return dict(zip(inputs, found, strict=True))
    if not is_grads_batched:
        return api.grad(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads)

    def one(*gs: Tensor) -> tuple[Tensor | None, ...]:
        return api.grad(outputs, inputs, gs, True, create_graph, allow_unused, True)

    return vmap(one)(*api.as_tuple(grad_outputs))


explain_functions(globals())
