"""Layers of activations in the torch API: what they print, give and refuse, with several options."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)
#: PyTorch's kernels have the constants 1/6 and 1/alpha in float32.
ROUNDED = {"Hardsigmoid": 1e-7, "CELU": 1e-7}


def layers(name: str, *makers: Any, shape: tuple[int, ...] = (2, 3, 4), low: float = -4.0, high: float = 4.0) -> None:
    """Layers ``make(nn)``: their printed form, and of an input of ``shape`` the result in training and evaluation."""

    def fn(T: Any, a: Inputs) -> Any:
        found = []
        for make in makers:
            m = make(T.nn)
            m = a.module(m) if list(m.parameters()) else m
            x = a.x(*shape, low=low, high=high) * 1.0  # in place is for what is no leaf
            out = m(x)
            found += [repr(m), m.extra_repr(), out, m.eval()(a.x(*shape)) if not getattr(m, "inplace", False) else None]
            found.append(out is x)
        return found

    case(name, fn)


layers("CELU", lambda nn: nn.CELU(), lambda nn: nn.CELU(0.5), lambda nn: nn.CELU(2, inplace=True))
layers("ELU", lambda nn: nn.ELU(), lambda nn: nn.ELU(0.3), lambda nn: nn.ELU(1.5, inplace=True))
layers("GELU", lambda nn: nn.GELU(), lambda nn: nn.GELU(approximate="tanh"))
layers("GLU", lambda nn: nn.GLU(), lambda nn: nn.GLU(1), lambda nn: nn.GLU(dim=-3), shape=(2, 4, 6))
layers("Hardshrink", lambda nn: nn.Hardshrink(), lambda nn: nn.Hardshrink(1), lambda nn: nn.Hardshrink(lambd=1.5))
layers("Hardsigmoid", lambda nn: nn.Hardsigmoid(), lambda nn: nn.Hardsigmoid(inplace=True))
layers("Hardswish", lambda nn: nn.Hardswish(), lambda nn: nn.Hardswish(inplace=True))
layers("Hardtanh", lambda nn: nn.Hardtanh(), lambda nn: nn.Hardtanh(-2, 0.5), lambda nn: nn.Hardtanh(inplace=True))
layers("LeakyReLU", lambda nn: nn.LeakyReLU(), lambda nn: nn.LeakyReLU(0.2), lambda nn: nn.LeakyReLU(1.5, True))
layers("LogSigmoid", lambda nn: nn.LogSigmoid(), low=-40.0, high=40.0)
layers("LogSoftmax", lambda nn: nn.LogSoftmax(1), lambda nn: nn.LogSoftmax(dim=-1), lambda nn: nn.LogSoftmax())
layers("Mish", lambda nn: nn.Mish(), lambda nn: nn.Mish(inplace=True), low=-30.0, high=30.0)
layers("PReLU", lambda nn: nn.PReLU(), lambda nn: nn.PReLU(3, init=0.1))
layers("RReLU of one slope", lambda nn: nn.RReLU(0.2, 0.2), lambda nn: nn.RReLU(0.3, 0.3, inplace=True))
layers("ReLU", lambda nn: nn.ReLU(), lambda nn: nn.ReLU(inplace=True))
layers("ReLU6", lambda nn: nn.ReLU6(), lambda nn: nn.ReLU6(True), low=-3.0, high=9.0)
layers("SELU", lambda nn: nn.SELU(), lambda nn: nn.SELU(inplace=True))
layers("SiLU", lambda nn: nn.SiLU(), lambda nn: nn.SiLU(inplace=True), low=-30.0, high=30.0)
layers("Softmax", lambda nn: nn.Softmax(dim=0), lambda nn: nn.Softmax(-2), lambda nn: nn.Softmax())
layers("Softmax2d", lambda nn: nn.Softmax2d())
layers("Softmax2d of a batch", lambda nn: nn.Softmax2d(), shape=(2, 3, 2, 2))
layers("Softmin", lambda nn: nn.Softmin(1), lambda nn: nn.Softmin(dim=-1), lambda nn: nn.Softmin())
layers("Softplus", lambda nn: nn.Softplus(), lambda nn: nn.Softplus(2, 1.5), low=-30.0, high=30.0)
layers("Softshrink", lambda nn: nn.Softshrink(), lambda nn: nn.Softshrink(1), lambda nn: nn.Softshrink(lambd=0.0))
layers("Softsign", lambda nn: nn.Softsign())
layers("Tanhshrink", lambda nn: nn.Tanhshrink())
layers("Threshold", lambda nn: nn.Threshold(0.1, 20), lambda nn: nn.Threshold(-1.5, 0.5, inplace=True))

CASES |= {
    "GLU of an odd size": lambda T: T.nn.GLU()(T.ones(3)),
    "GLU of a number": lambda T: T.nn.GLU()(T.tensor(1.0)),
    "Hardtanh of no range": lambda T: T.nn.Hardtanh(1.0, -1.0),
    "RReLU of no range": lambda T: T.nn.RReLU(0.5, 0.1)(T.ones(3)),
    "Softmax2d of a matrix": lambda T: T.nn.Softmax2d()(T.ones(2, 3)),
    "Softshrink below zero": lambda T: T.nn.Softshrink(-0.5)(T.ones(3)),
    "GELU unknown": lambda T: T.nn.GELU("sometimes")(T.ones(3)),
    "PReLU of other channels": lambda T: T.nn.PReLU(3)(T.ones(2, 4)),
    "Softmin of no axis": lambda T: T.nn.Softmin(2)(T.ones(2, 3)),
    "ReLU6 of integers": lambda T: T.nn.ReLU6()(T.tensor([-2, 3, 9])),
    "Softsign of integers": lambda T: T.nn.Softsign()(T.tensor([-2, 3, 9])),
    "Mish of a leaf in place": lambda T: T.nn.Mish(inplace=True)(T.ones(2, requires_grad=True)),
    "SELU at infinity": lambda T: T.nn.SELU()(T.tensor([-T.inf, T.inf, T.nan])),
    "Softsign at infinity": lambda T: T.nn.Softsign()(T.tensor([-T.inf, T.inf, T.nan])),
    "LogSigmoid at infinity": lambda T: T.nn.LogSigmoid()(T.tensor([-T.inf, T.inf, T.nan])),
    "Tanhshrink at infinity": lambda T: T.nn.Tanhshrink()(T.tensor([-T.inf, T.inf, T.nan])),
    "old threshold attributes": lambda T: [T.nn.Softplus(2).beta, T.nn.Threshold(1, 2).value, T.nn.RReLU().upper],
}
