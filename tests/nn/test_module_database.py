"""Every entry of torch's database of modules gives here what it gives there: outputs, and gradients of everything."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import flambeau as fb

torch = pytest.importorskip("torch")
common = pytest.importorskip("torch.testing._internal.common_modules")

pytestmark = pytest.mark.slow


def ours(value: Any) -> Any:
    """What torch's database gives, as flambeau's objects."""
    if isinstance(value, torch.nn.Module):
        return our_module(value)
    if isinstance(value, torch.Tensor):
        made = fb.tensor(value.detach().numpy())
        return made.requires_grad_() if value.requires_grad else made
    if isinstance(value, torch.dtype):
        return getattr(fb, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return fb.device(str(value))
    if isinstance(value, dict):
        return {k: ours(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(ours(v) for v in value)
    if isinstance(value, torch.nn.LinearCrossEntropyOptions):
        return fb.nn.LinearCrossEntropyOptions(**{f.name: ours(getattr(value, f.name)) for f in fields(value)})
    name = getattr(value, "__name__", "")
    is_function = callable(value) and getattr(torch.nn.functional, name, None) is value
    return getattr(fb.nn.functional, name) if is_function else value


def our_module(module: Any) -> Any:
    """A module that is an argument of another: made of the same options; its parameters come later."""
    if isinstance(module, torch.nn.TransformerEncoderLayer):
        made = fb.nn.TransformerEncoderLayer(
            module.linear1.in_features, module.self_attn.num_heads, module.linear1.out_features, module.dropout.p,
            ours(module.activation), module.norm1.eps, module.self_attn.batch_first, module.norm_first,
            module.linear1.bias is not None,
        )  # fmt: skip
    else:
        kind = getattr(fb.nn, type(module).__name__)
        wanted = inspect.signature(kind.__init__).parameters
        made = kind(**{n: ours(v) for n, v in vars(module).items() if n in wanted})
    return made.to(ours(next(module.parameters()).dtype)) if list(module.parameters()) else made


def cut(value: Any) -> Any:
    """The same, where the database computes an argument from another: each by itself."""
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return {k: cut(v) for k, v in value.items()}
    return type(value)(cut(v) for v in value) if isinstance(value, (list, tuple)) else value


def leaves(value: Any) -> Iterator[Any]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    elif hasattr(value, "requires_grad"):
        yield value


def run(T: Any, make: Callable[[], Any], prepare: Callable[[Any], None], given: Any, training: bool) -> list[Any]:
    """The results of a module and the gradients of its arguments and parameters, as numpy's arrays."""
    module = make()
    module.train(training)
    prepare(module)
    args, kwargs = given.args, given.kwargs
    T.manual_seed(0)
    results = list(leaves(module(*args, **kwargs)))
    prepared = [t for t in (*leaves(args), *leaves(kwargs), *module.parameters()) if t.requires_grad]
    live = [r for r in results if r.requires_grad]
    grads: list[Any] = []
    if live and prepared:
        loss = sum((r * T.tensor(np.cos(np.arange(r.numel())).reshape(tuple(r.shape)).astype("float64"))).sum()
                   for r in live)  # fmt: skip
        grads = list(T.autograd.grad(loss, prepared, allow_unused=True))
    return [None if t is None else np.asarray(t.detach().numpy()) for t in (*results, *grads)]


class Given:
    """Arguments."""

    def __init__(self, args: Any, kwargs: Any):
        self.args, self.kwargs = args, kwargs


def cases(info: Any, training: bool) -> Iterator[tuple[str, Any]]:
    for given in info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    ):
        yield given.desc or "default", given


@pytest.mark.parametrize("info", common.module_db, ids=lambda info: info.name)
def test_module(info: Any) -> None:
    """Outputs and gradients in float64, in training and in evaluation."""
    torch.manual_seed(1)
    kind = getattr(fb.nn, info.name.removeprefix("nn."))
    for training in (True, False) if info.train_and_eval_differ else (True,):
        for desc, given in cases(info, training):
            compare(info.module_cls, kind, given, training, f"{desc}, training={training}")


def compare(theirs: Any, kind: Any, given: Any, training: bool, what: str) -> None:
    made, called = given.constructor_input, given.forward_input
    if called is None:
        return
    called = Given(cut(called.args), cut(called.kwargs))
    one = Given(ours(made.args), ours(made.kwargs))
    state: dict[str, Any] = {}

    def make() -> Any:
        torch.manual_seed(0)
        module = theirs(*made.args, **made.kwargs).double()
        if any(torch.nn.parameter.is_lazy(p) for p in module.parameters()):
            module(*called.args, **called.kwargs)
        for i, p in enumerate(module.parameters()):
            with torch.no_grad():
                p.copy_(torch.from_numpy(np.random.default_rng(i).uniform(-0.5, 0.5, tuple(p.shape))))
        state.update({k: v.clone() for k, v in module.state_dict().items() if isinstance(v, torch.Tensor)})
        return module

    def load(module: Any) -> None:
        if any(fb.nn.parameter.is_lazy(p) for p in module.parameters()):
            module(*inputs.args, **inputs.kwargs)
        module.load_state_dict(ours(state))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = run(torch, make, lambda m: None, called, training)
        inputs = Given(ours(called.args), ours(called.kwargs))
        found = run(fb, lambda: kind(*one.args, **one.kwargs).double(), load, inputs, training)
    assert len(found) == len(wanted), what
    for i, (f, w) in enumerate(zip(found, wanted, strict=True)):
        assert (f is None) == (w is None), f"{what}: result {i} is {f}, torch's {w}"
        if f is not None:
            assert f.dtype == w.dtype, f"{what}: result {i}"
            np.testing.assert_allclose(f, w, 1e-7, 1e-8, err_msg=f"{what}: result {i}")
