"""Layers that learn a size at their first call, in the torch API: before it, at it and after it."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, collected, on_inputs

CASES: dict[str, Case] = {}
on_input = on_inputs(CASES)
case = collected(CASES)


def _kinds(m: Any) -> list[Any]:
    """Whether each of a layer's tensors waits for a shape, and what it is called."""
    named = [*m.named_parameters(), *m.named_buffers()]
    return [[name, type(t).__name__, getattr(t, "cls_to_become", type(None)).__name__] for name, t in named]


def lazy(name: str, make: Any, becomes: Any, *shape: int) -> None:
    """A layer ``make(nn)`` that becomes a ``becomes(nn)`` when it sees an input of a shape."""

    def fn(T: Any, a: Inputs) -> Any:
        m, x = make(T.nn).double(), a.x(*shape)
        before = [repr(m), m.has_uninitialized_params(), m.cls_to_become is becomes(T.nn), _kinds(m)]
        m(x.detach())
        after = [type(m) is becomes(T.nn), repr(m), m.extra_repr(), _kinds(m), len(m._forward_pre_hooks)]
        return [before, after, a.module(m.eval())(x), {n: b for n, b in m.named_buffers() if "tracked" in n}]

    on_input(name, fn)


lazy("LazyLinear", lambda nn: nn.LazyLinear(3), lambda nn: nn.Linear, 2, 5)
lazy("LazyLinear no bias", lambda nn: nn.LazyLinear(3, bias=False), lambda nn: nn.Linear, 2, 4, 5)
lazy("LazyConv1d", lambda nn: nn.LazyConv1d(4, 3), lambda nn: nn.Conv1d, 2, 2, 5)
lazy("LazyConv1d of one", lambda nn: nn.LazyConv1d(4, 3, 2, 1, padding_mode="circular"), lambda nn: nn.Conv1d, 2, 5)
lazy("LazyConv2d", lambda nn: nn.LazyConv2d(4, (2, 3), groups=2, bias=False), lambda nn: nn.Conv2d, 1, 2, 3, 4)
lazy("LazyConv2d same", lambda nn: nn.LazyConv2d(2, 3, padding="same", dilation=2), lambda nn: nn.Conv2d, 1, 2, 3, 4)
lazy("LazyConv3d", lambda nn: nn.LazyConv3d(2, 2, stride=(1, 2, 1)), lambda nn: nn.Conv3d, 1, 2, 3, 4, 2)
lazy("LazyConvTranspose1d", lambda nn: nn.LazyConvTranspose1d(3, 2, 2), lambda nn: nn.ConvTranspose1d, 2, 2, 4)
lazy("LazyConvTranspose2d", lambda nn: nn.LazyConvTranspose2d(4, 3, 2, 1, 1, groups=2), lambda nn: nn.ConvTranspose2d,
     1, 2, 2, 3)  # fmt: skip
lazy("LazyConvTranspose3d", lambda nn: nn.LazyConvTranspose3d(2, 2, bias=False, dilation=2),
     lambda nn: nn.ConvTranspose3d, 1, 2, 2, 1, 2)  # fmt: skip
lazy("LazyBatchNorm1d", lambda nn: nn.LazyBatchNorm1d(), lambda nn: nn.BatchNorm1d, 4, 3)
lazy("LazyBatchNorm2d", lambda nn: nn.LazyBatchNorm2d(eps=0.1, momentum=None), lambda nn: nn.BatchNorm2d, 2, 3, 2, 2)
lazy("LazyBatchNorm3d", lambda nn: nn.LazyBatchNorm3d(affine=False), lambda nn: nn.BatchNorm3d, 2, 3, 2, 1, 2)
lazy("LazyBatchNorm3d untracked", lambda nn: nn.LazyBatchNorm3d(track_running_stats=False), lambda nn: nn.BatchNorm3d,
     2, 3, 2, 1, 2)  # fmt: skip
lazy("LazyInstanceNorm1d", lambda nn: nn.LazyInstanceNorm1d(), lambda nn: nn.InstanceNorm1d, 2, 3, 4)
lazy(
    "LazyInstanceNorm2d", lambda nn: nn.LazyInstanceNorm2d(0.1, affine=False), lambda nn: nn.InstanceNorm2d, 2, 3, 2, 2
)
lazy("LazyInstanceNorm3d", lambda nn: nn.LazyInstanceNorm3d(momentum=0.5), lambda nn: nn.InstanceNorm3d, 2, 3, 2, 1, 2)


@case
def initialize_parameters(T: Any) -> Any:
    """Called by itself it gives shapes, and leaves the class to the first call."""
    found = []
    for m, x in (
        (T.nn.LazyLinear(3), T.ones(2, 5)), (T.nn.LazyConv2d(4, 3), T.ones(1, 2, 5, 5)),
        (T.nn.LazyConvTranspose1d(4, 3), T.ones(2, 5)), (T.nn.LazyBatchNorm1d(), T.ones(4, 3)),
    ):  # fmt: skip
        m.initialize_parameters(x)
        found.append([type(m).__name__, m.has_uninitialized_params(), {n: t.shape for n, t in m.named_parameters()}])
        m.initialize_parameters(x)
        m(x)
        found.append(type(m).__name__)
    return found


@case
def a_mixin_of_ones_own(T: Any) -> Any:
    lazy_module = T.nn.modules.lazy if T.__name__ == "torch" else T.nn.lazy

    class Scale(lazy_module.LazyModuleMixin, T.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = T.nn.UninitializedParameter()

        def initialize_parameters(self, input, scale=1.0):
            if self.has_uninitialized_params():
                self.weight.materialize((input.shape[-1],))
                T.nn.init.constant_(self.weight, scale)

        def forward(self, input, scale=1.0):
            return input * self.weight

    m = Scale()
    found = [m.cls_to_become, m(T.ones(2, 3), scale=2.0), type(m).__name__, len(m._forward_pre_hooks)]
    return [*found, m(T.ones(2, 3), scale=5.0)]


@case
def a_mixin_that_leaves_parameters(T: Any) -> Any:
    lazy_module = T.nn.modules.lazy if T.__name__ == "torch" else T.nn.lazy

    class Idle(lazy_module.LazyModuleMixin, T.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = T.nn.UninitializedParameter()

        def initialize_parameters(self, input):
            pass

    Idle()(T.ones(1))


@case
def a_mixin_without_initialize_parameters(T: Any) -> Any:
    lazy_module = T.nn.modules.lazy if T.__name__ == "torch" else T.nn.lazy

    class Bare(lazy_module.LazyModuleMixin, T.nn.Linear):
        cls_to_become = T.nn.Linear

    Bare(2, 3)(T.ones(1, 2))


@case
def an_uninitialized_parameter(T: Any) -> Any:
    p, b = T.nn.UninitializedParameter(requires_grad=False), T.nn.UninitializedBuffer(dtype=T.float64)
    found = [p.cls_to_become is T.nn.Parameter, b.cls_to_become is T.Tensor, p.requires_grad, b.dtype]
    p.materialize((2, 3), dtype=T.float64)
    b.materialize((4,))
    return [*found, type(p).__name__, type(b).__name__, p.shape, p.dtype, p.requires_grad, b.shape, b.dtype]


@case
def states_of_both_kinds(T: Any) -> Any:
    """A lazy layer takes what an ordinary one saved, and an ordinary one refuses what has no shape."""
    kinds = [
        (T.nn.LazyConv1d(4, 3), T.nn.Conv1d(2, 4, 3), (1, 2, 5)),
        (T.nn.LazyConvTranspose2d(4, 3), T.nn.ConvTranspose2d(2, 4, 3), (1, 2, 5, 5)),
        (T.nn.LazyBatchNorm2d(), T.nn.BatchNorm2d(3), (2, 3, 2, 2)),
    ]
    found = []
    for late, ready, shape in kinds:
        late.load_state_dict(ready.state_dict())
        late(T.ones(*shape))
        found += [type(late).__name__, bool((late.weight == ready.weight).all())]
    return found


@case
def a_ready_layer_takes_no_shapeless_state(T: Any) -> Any:
    T.nn.Conv1d(2, 4, 3).load_state_dict(T.nn.LazyConv1d(4, 3).state_dict())


CASES |= {
    "LazyConv1d of an image": lambda T: T.nn.LazyConv1d(2, 3)(T.ones(1, 2, 3, 4)),
    "LazyConv3d of a matrix": lambda T: T.nn.LazyConv3d(2, 3)(T.ones(3, 4)),
    "LazyConv2d of odd groups": lambda T: T.nn.LazyConv2d(4, 1, groups=2)(T.ones(1, 3, 2, 2)),
    "LazyConvTranspose2d of odd groups": lambda T: T.nn.LazyConvTranspose2d(3, 1, groups=2)(T.ones(1, 2, 2, 2)),
    "LazyConvTranspose3d of an image": lambda T: T.nn.LazyConvTranspose3d(2, 3)(T.ones(1, 2, 4)),
    "LazyBatchNorm2d of sequences": lambda T: T.nn.LazyBatchNorm2d()(T.ones(2, 3, 4)),
    "LazyBatchNorm3d of images": lambda T: T.nn.LazyBatchNorm3d()(T.ones(2, 3, 4, 4)),
    "LazyInstanceNorm1d of images": lambda T: T.nn.LazyInstanceNorm1d()(T.ones(2, 3, 4, 4)),
    "LazyInstanceNorm2d of one": lambda T: T.nn.LazyInstanceNorm2d(affine=True)(T.ones(3, 4, 4)),
    "LazyInstanceNorm3d of a matrix": lambda T: T.nn.LazyInstanceNorm3d()(T.ones(3, 4)),
    "LazyLinear of 0 dimensions": lambda T: T.nn.LazyLinear(2)(T.tensor(1.0)),
    "LazyConv1d dtype": lambda T: [p.dtype for p in T.nn.LazyConv1d(2, 1, dtype=T.float64).parameters()],
    "LazyConv1d moved": lambda T: T.nn.LazyConv1d(2, 1).double()(T.ones(1, 2, 3, dtype=T.float64)).dtype,
}
