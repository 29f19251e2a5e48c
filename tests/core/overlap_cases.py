"""Writes to one of several views, and to memory that an operand shares, in the torch API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


# -- views that one call gave ------------------------------------------------------------------------
def _several(name: str, *args: int) -> None:
    def base(T: Any, requires_grad: bool = True) -> Any:
        return T.arange(16.0).reshape(2, 2, 4).clone().requires_grad_(requires_grad)

    def written(T: Any) -> Any:
        x = base(T)
        a, b = getattr(T, name)(x * 1, *args)[:2]
        a.mul_(3)
        (b * b).sum().backward()
        return x.grad

    def view_written(T: Any) -> Any:
        getattr(T, name)(base(T) * 1, *args)[0][0].mul_(3)

    def by_a_gradient(T: Any) -> Any:
        getattr(T, name)(base(T, False), *args)[0].mul_(T.ones(1, requires_grad=True))

    def without_gradients(T: Any) -> Any:
        x = base(T, False)
        getattr(T, name)(x, *args)[0].mul_(3)
        return x

    def under_no_grad(T: Any) -> Any:
        x = base(T) * 1
        with T.no_grad():
            getattr(T, name)(x, *args)[0].mul_(3)
        return x.detach()

    for fn in (written, view_written, by_a_gradient, without_gradients, under_no_grad):
        CASES[f"{name}_{fn.__name__}"] = fn


for name, args in (
    ("split", (1,)), ("split_with_sizes", ([1, 1],)), ("chunk", (2,)), ("unbind", ()), ("tensor_split", (2,)),
    ("hsplit", (2,)), ("vsplit", (2,)), ("dsplit", (2,)),
):  # fmt: skip
    _several(name, *args)  # type: ignore[arg-type]
for name in ("unsafe_split", "unsafe_chunk"):
    CASES[f"{name}_written"] = lambda T, name=name: getattr(T, name)(T.ones(4, requires_grad=True) * 1, 2)[0].mul_(2)


@case
def rows_written(T: Any) -> Any:
    for row in T.ones(2, 2, requires_grad=True) * 1:
        row.mul_(2)


@case
def gradients_of_parts(T: Any) -> Any:
    x = T.arange(4.0).requires_grad_()
    a, b = (x * 1).split(2)
    return T.autograd.grad((a * b).sum(), (a, b, x))


# -- memory that is shared ---------------------------------------------------------------------------
def _shared(name: str, act: Callable[[Any, Any], Any], make: Callable[[Any], Any] = lambda T: T.arange(6.0)) -> None:
    def run(T: Any) -> Any:
        x = make(T)
        act(T, x)
        return x

    CASES[f"shared_{name}"] = run


def _square(T: Any) -> Any:
    return T.arange(9.0).reshape(3, 3).clone()


for name in ("copy_", "mul_", "add_", "sub_", "div_", "pow_", "eq_", "fmod_", "atan2_"):
    _shared(f"{name}forwards", lambda T, x, name=name: getattr(x[1:], name)(x[:-1]))
    _shared(f"{name}backwards", lambda T, x, name=name: getattr(x[:-1], name)(x[1:]))
    _shared(f"{name}same", lambda T, x, name=name: getattr(x[1:], name)(x[1:]))
    _shared(f"{name}apart", lambda T, x, name=name: getattr(x[:3], name)(x[3:]))
    _shared(f"{name}interleaved", lambda T, x, name=name: getattr(x[::2], name)(x[1::2]))
_shared("lerp", lambda T, x: x[1:].lerp_(x[:-1], 0.5))
_shared("addcmul", lambda T, x: x[1:].addcmul_(x[:-1], x[:-1]))
_shared("transposed", lambda T, x: x.add_(x.T), _square)
_shared("row", lambda T, x: x.add_(x[0]), _square)
_shared("element", lambda T, x: x.add_(x[0]))
_shared("element_clone", lambda T, x: x.add_(x[0].clone()))
_shared("columns", lambda T, x: x[:, 0].add_(x[:, 1]), _square)
_shared("diagonal", lambda T, x: x.diagonal().add_(x[0]), _square)
_shared("masked_fill", lambda T, x: x.masked_fill_(x > 2, x[1]))
_shared("scatter", lambda T, x: x[1:].scatter_(0, T.arange(5), x[:-1]))
_shared("index_add", lambda T, x: x.index_add_(0, T.tensor([0, 1]), x[1:3]))
_shared("index_copy", lambda T, x: x.index_copy_(0, T.tensor([0, 1]), x[1:3]))
_shared("set_slice", lambda T, x: x.__setitem__(slice(1, None), x[:-1]))
_shared("set_mask", lambda T, x: x.__setitem__(x > 2, x[:3]))
_shared("set_indices", lambda T, x: x.__setitem__(T.tensor([0, 1]), x[1:3]))
_shared("addmv", lambda T, x: x[0].addmv_(x, x[1]), _square)
_shared("exp_out", lambda T, x: T.exp(x[:-1], out=x[1:]))
_shared("add_out", lambda T, x: T.add(x[:-1], 1, out=x[1:]))
_shared("add_out_same", lambda T, x: T.add(x, 1, out=x))
_shared("out_expanded", lambda T, x: T.add(T.ones(3), 1, out=x[:1].expand(3)))
_shared("add_expanded", lambda T, x: x[:1].expand(3).add_(1))
_shared("copy_to_expanded", lambda T, x: x[:1].expand(3).copy_(T.ones(3)))
_shared("fill_expanded", lambda T, x: x[:1].expand(3).fill_(2))
_shared("zero_expanded", lambda T, x: x[1:2].expand(3).zero_())
_shared("uniform_expanded", lambda T, x: x[:1].expand(3).uniform_())


# -- complex views -----------------------------------------------------------------------------------
@case
def complex_chain(T: Any) -> Any:
    x = T.arange(8.0, dtype=T.float64).reshape(4, 2).clone().requires_grad_()
    y = x * 1
    z = T.view_as_complex(y)
    z.mul_(2j)
    T.view_as_real(z)[0, 0] = 5.0
    z.reshape(2, 2).T[0] = 1j
    return [y, T.autograd.grad((y * y).sum(), x)]


@case
def real_chain(T: Any) -> Any:
    z = T.tensor([1 + 2j, 3 - 1j], dtype=T.complex128, requires_grad=True)
    y = z * 1
    r = T.view_as_real(y)
    r[:, 0].mul_(3)
    T.view_as_complex(r)[0] = 2 + 1j
    return [y, T.autograd.grad((y.abs() ** 2).sum(), z)]


@case
def parts_written(T: Any) -> Any:
    x = T.arange(8.0, dtype=T.float64).reshape(4, 2).clone().requires_grad_()
    z = T.view_as_complex(x * 1)
    z.real.mul_(2)
    z.imag.add_(1)
    return T.autograd.grad(z.abs().sum(), x)


@case
def parts_assigned(T: Any) -> Any:
    z = T.tensor([1 + 2j, 3 - 1j], dtype=T.complex128, requires_grad=True)
    y = z * 1
    y.real = T.tensor([5.0, 6.0], dtype=T.float64)
    y.imag[0] = 2
    return [y, T.autograd.grad((y * y).abs().sum(), z)]


@case
def odd_pairs_as_complex(T: Any) -> Any:
    T.view_as_complex(T.arange(4.0).unfold(0, 2, 1))


@case
def odd_offset_as_complex(T: Any) -> Any:
    T.view_as_complex(T.arange(6.0)[1:5].view(2, 2))


# -- any strides over the storage of another dtype ---------------------------------------------------
def _strided(name: str, part: Callable[[Any, Any], Any], *args: Any) -> None:
    def run(T: Any) -> Any:
        z = T.tensor([1 + 2j, 3 + 4j, 5 + 6j, 7 + 8j], dtype=T.complex128, requires_grad=True)
        y = part(T, z * 1).as_strided(*args)
        weights = T.arange(1.0, 1 + y.numel(), dtype=T.float64).reshape(y.shape)
        return [y, T.autograd.grad(((y * y.conj()).real * weights).sum(), z)]

    CASES[f"strided_{name}"] = run


_strided("real", lambda T, z: z.real, (2,), (4,), 2)
_strided("imag", lambda T, z: z.imag, (2, 2), (4, 2), 1)
_strided("imag_from_there", lambda T, z: z.imag, (2,), (2,))
_strided("imag_of_a_part", lambda T, z: z[1:].imag, (2,), (4,))
_strided("pairs", lambda T, z: T.view_as_real(z), (2,), (3,), 1)
_strided("complex_again", lambda T, z: T.view_as_complex(T.view_as_real(z) * 1), (2,), (2,), 1)


@case
def strided_between_parts(T: Any) -> Any:
    z = T.tensor([1 + 2j, 3 + 4j, 5 + 6j], dtype=T.complex128, requires_grad=True) * 1
    return [z.real.as_strided((3,), (1,), 1).detach(), z.imag.as_strided((2, 2), (2, 1), 0).detach()]


# -- views in place ----------------------------------------------------------------------------------
def _becoming(name: str, act: Callable[[Any], Any]) -> None:
    def of_a_part(T: Any) -> Any:
        act((T.ones(4, 2, requires_grad=True) * 1).split(2)[0])

    def of_a_view_of_a_leaf(T: Any) -> Any:
        act(T.ones(2, 2, requires_grad=True)[:1])

    def of_an_inference_tensor(T: Any) -> Any:
        with T.inference_mode():
            x = T.ones(2, 2)
        act(x)

    def under(T: Any, mode: str) -> Any:
        x = T.arange(4.0, requires_grad=True)
        y = (x * 1).reshape(1, 4)
        with getattr(T, mode)():
            act(y)
        return [y, y.requires_grad, y.is_leaf]

    def with_views(T: Any) -> Any:
        x = T.arange(4.0, requires_grad=True)
        y = (x * 1).reshape(2, 2)
        y = y.clone()
        row = y[0]
        act(y)
        y.mul_(3)
        return [y, row, T.autograd.grad((row * row).sum() + y.sum(), x)]

    def of_a_parameter(T: Any) -> Any:
        x = T.arange(6.0).reshape(1, 6).clone().requires_grad_()
        with T.no_grad():
            act(x)
        (x * x).sum().backward()
        return [x, x.is_leaf, x.grad]

    for fn in (of_a_part, of_a_view_of_a_leaf, of_an_inference_tensor, with_views, of_a_parameter):
        CASES[f"{name}_{fn.__name__}"] = fn
    for mode in ("no_grad", "inference_mode"):
        CASES[f"{name}_under_{mode}"] = lambda T, mode=mode: under(T, mode)


_becoming("t_", lambda x: x.t_())
_becoming("unsqueeze_", lambda x: x.unsqueeze_(1))
_becoming("squeeze_", lambda x: x.squeeze_(0))


@case
def a_view_of_a_view_without_gradients_written(T: Any) -> Any:
    x = T.ones(2, 2, requires_grad=True) * 1
    with T.no_grad():
        row = x[0]
    row[:1].mul_(2)


@case
def a_copying_reshape_is_no_view(T: Any) -> Any:
    x = T.ones(2, 3, requires_grad=True) * 1
    with T.no_grad():
        y = x.T.reshape(-1)
    y.mul_(x.sum())
    return [y, y._is_view(), x.T.reshape(6)._is_view()]


# -- gradients that depend on nothing ----------------------------------------------------------------
@case
def zero_gradients_stay_zero(T: Any) -> Any:
    x = T.tensor([1.5, -2.5], requires_grad=True)
    inf = T.tensor([float("inf"), float("nan")], requires_grad=True)
    found = []
    for f in (T.floor, T.ceil, T.trunc, T.round, T.sign):
        (g,) = T.autograd.grad(f(x), x, inf, create_graph=True)
        found.append([g.detach(), g.requires_grad])
    return found


# -- what was made in inference mode ------------------------------------------------------------------
def _made_inside(T: Any) -> Any:
    with T.inference_mode():
        return T.ones(2, 2)


def _step_of_parameters_made_inside(T: Any) -> Callable[[], Any]:
    with T.inference_mode():
        p = T.nn.Parameter(T.ones(2, 2))
        p.grad = T.ones(2, 2)
    return lambda: [T.optim.SGD([p], lr=0.1).step(), p.detach()][1]


@case
def inference_parameters_stepped_outside(T: Any) -> Any:
    _step_of_parameters_made_inside(T)()


@case
def inference_parameters_stepped_inside(T: Any) -> Any:
    step = _step_of_parameters_made_inside(T)
    with T.inference_mode():
        return step()


@case
def inference_state_stepped_outside(T: Any) -> Any:
    p = T.ones(2, requires_grad=True)
    p.grad = T.ones(2)
    adam = T.optim.Adam([p], lr=0.1)
    with T.inference_mode():
        adam.step()
    adam.step()


@case
def inference_argument_of_grad(T: Any) -> Any:
    return T.func.grad(lambda a: (a * a).sum())(_made_inside(T))
