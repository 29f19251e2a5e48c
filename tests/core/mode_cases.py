"""Grad modes, views and writes, anomaly mode, gradcheck, forward_ad, checkpoint in the torch API."""

from __future__ import annotations

import copy
from typing import Any

from tests.core.leaves import function, gradient, leaf
from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"x": lambda T: leaf(T, 1, 2), "F": lambda T: T.autograd.functional}

CASES: dict[str, Case] = {
    "leaf_inplace": lambda T: leaf(T, 1).add_(1),
    "leafview_inplace": lambda T: leaf(T, 1, 2)[0:1].add_(1),
    "expand_inplace": lambda T: T.ones(1).expand(3).add_(1),
    "inplace_type": lambda T: T.ones(2, dtype=T.int64).add_(1.5),
    "inplace_bcast": lambda T: T.ones(2).add_(T.ones(3, 2)),
    "deepcopy_nonleaf": lambda T: copy.deepcopy(leaf(T, 1) * 2),
    "numpy_req": lambda T: leaf(T, 1).numpy(),
    "numpy_force": lambda T: leaf(T, 1).numpy(force=True).tolist(),
    "gradcheck_ok": lambda T: T.autograd.gradcheck(lambda x: (x.sin(), x * 2), (leaf(T, 1, 2),)),
    "gradcheck_fast": lambda T: T.autograd.gradcheck(lambda x: (x.sin(), x * 2), (leaf(T, 1, 2),), fast_mode=True),
    "gradcheck_fwd": lambda T: T.autograd.gradcheck(
        lambda x: x.sin(),
        (leaf(T, 1, 2),),
        check_forward_ad=True,
        check_undefined_grad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    ),
    "gradgradcheck_o": lambda T: T.autograd.gradgradcheck(
        lambda x: x.sin(),
        (leaf(T, 1),),
        (leaf(T, 3),),
        gen_non_contig_grad_outputs=False,
        check_batched_grad=False,
        fast_mode=True,
    ),
    "forward_ad_outside": lambda T: T.autograd.forward_ad.make_dual(T.ones(1), T.ones(1)),
    "functional_strict": lambda T, F: F.jacobian(lambda a: T.ones(2), T.ones(2), strict=True),
    "functional_unused": lambda T, F: F.jacobian(lambda a: T.ones(2), T.ones(2)),
    "functional_vjp_nov": lambda T, F: F.vjp(lambda a: a * 2, T.ones(2)),
    "functional_vjp_scalar": lambda T, F: F.vjp(lambda a: a.sum(), T.ones(2)),
    "gradcheck_bad": lambda T: T.autograd.gradcheck(
        function(T, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 3).apply,
        (leaf(T, 1),),
        raise_exception=False,
    ),
    "gradcheck_bad2": lambda T: T.autograd.gradcheck(
        function(T, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 3).apply, (leaf(T, 1),)
    ),
    "checkpoint_": lambda T, x: gradient(
        T.utils.checkpoint.checkpoint(lambda a: a.sin().exp(), x, use_reentrant=False), x
    ),
    "checkpoint_seq": lambda T, x: gradient(
        T.utils.checkpoint.checkpoint_sequential([T.sin, T.exp, T.cos], 2, x, use_reentrant=False), x
    ),
    "checkpoint_reent": lambda T, x: gradient(
        T.utils.checkpoint.checkpoint(lambda a: a.sin().exp(), x, use_reentrant=True), x
    ),
}
case = collected(CASES)


@case
def modes(T: Any) -> Any:
    x = leaf(T, 1)
    out = []
    with T.no_grad():
        out.append((x * 2).requires_grad)
        with T.enable_grad():
            out.append((x * 2).requires_grad)
    with T.set_grad_enabled(False):
        out.append((x * 2).requires_grad)
    T.set_grad_enabled(False)
    out.append((x * 2).requires_grad)
    T.set_grad_enabled(True)

    @T.no_grad()
    def f():
        return (x * 2).requires_grad

    out.append(f())

    @T.no_grad
    def f2():
        return (x * 2).requires_grad

    out.append(f2())

    @T.no_grad()
    def gen():
        for _ in range(2):
            yield (x * 2).requires_grad

    for v in gen():
        out.append(v)
        out.append((x * 2).requires_grad)

    @T.set_grad_enabled(False)
    def h():
        return (x * 2).requires_grad

    out.append(h())
    out.append(T.is_grad_enabled())

    @T.inference_mode()
    def k():
        return [(x * 2).requires_grad, T.is_inference_mode_enabled()]

    out.append(k())
    return out


@case
def inference_backward(T: Any) -> Any:
    x = leaf(T, 1)
    y = x * x
    with T.inference_mode():
        y.backward()
    return x.grad


@case
def inference_mode_false(T: Any) -> Any:
    x = leaf(T, 1)
    with T.inference_mode(), T.inference_mode(False):
        return (x * 2).requires_grad


@case
def inference_enable(T: Any) -> Any:
    x = leaf(T, 1)
    with T.inference_mode(), T.enable_grad():
        return (x * 2).requires_grad


@case
def factories_nograd(T: Any) -> Any:
    with T.no_grad():
        p = T.ones(2, requires_grad=True)
    return [p.requires_grad, p.is_leaf]


@case
def leafview_setitem(T: Any) -> Any:
    leaf(T, 1, 2)[0] = 3.0


@case
def nograd_view_inplace(T: Any, x: Any) -> Any:
    y = x * 1
    with T.no_grad():
        v = y[0:1]
    v.mul_(2)


@case
def viewbase(T: Any) -> Any:
    x = T.ones(3)
    v = x[1:]
    w = v[1:]
    return [v._is_view(), v._base is x, w._base is x, x._is_view(), x._base is None]


@case
def view_of_view_inplace(T: Any) -> Any:
    x = leaf(T, 1, 2, 3, 4)
    y = x * 1
    v = y.view(2, 2)
    w = v[0]
    w.mul_(3)
    r = v.sum() + y[1] * 2
    r.backward()
    return x.grad


@case
def copy_grad(T: Any, x: Any) -> Any:
    z = T.zeros(2, 2, dtype=T.float64)
    z[0] = x
    z[1].copy_(x * x)
    return gradient(z * z, x)


@case
def zeros_inplace_requires(T: Any, x: Any) -> Any:
    z = T.zeros(2, dtype=T.float64)
    z.add_(x)
    return [z.requires_grad, z.is_leaf]


@case
def set_data(T: Any, x: Any) -> Any:
    x.data = T.zeros(3, dtype=T.float64)
    return [x, x.requires_grad]


@case
def set_data_dtype(T: Any, x: Any) -> Any:
    x.data = T.zeros(3)
    return [x, x.requires_grad]


@case
def complex_backward(T: Any) -> Any:
    x = T.tensor([1 + 2j, 3 - 1j], dtype=T.complex128, requires_grad=True)
    return gradient((x * x.conj()).real, x)


@case
def complex_nonreal(T: Any) -> Any:
    x = T.tensor([1 + 2j], dtype=T.complex128, requires_grad=True)
    (x * x).sum().backward()


@case
def complex_abs(T: Any) -> Any:
    x = T.tensor([1 + 2j, 3 - 1j], dtype=T.complex128, requires_grad=True)
    return gradient(x.abs(), x)


@case
def grad_of_grad_zero(T: Any, x: Any) -> Any:
    (g,) = T.autograd.grad((3 * x).sum(), x, create_graph=True)
    return g.requires_grad


@case
def create_no_grad(T: Any, x: Any) -> Any:
    with T.no_grad():
        (g,) = T.autograd.grad(leaf(T, 1).sum(), x, allow_unused=True)
        return g


@case
def anomaly(T: Any) -> Any:
    x = leaf(T, 0.0)
    with T.autograd.detect_anomaly():
        y = T.sqrt(x) * 0
        y.sum().backward()


@case
def anomaly_off(T: Any) -> Any:
    x = leaf(T, 0.0)
    with T.autograd.detect_anomaly(check_nan=False):
        y = T.sqrt(x) * 0
        y.sum().backward()
    return x.grad


@case
def anomaly_flags(T: Any) -> Any:
    out = [T.is_anomaly_enabled()]
    with T.autograd.set_detect_anomaly(True):
        out.append(T.is_anomaly_enabled())
        out.append(T.is_anomaly_check_nan_enabled())
    out.append(T.is_anomaly_enabled())
    return out


@case
def deepcopy_leaf(T: Any) -> Any:
    x = leaf(T, 1)
    x.sum().backward()
    y = copy.deepcopy(x)
    return [y, y.requires_grad, y.grad, y is x]


@case
def tensor_float(T: Any) -> Any:
    x = leaf(T, 1)
    return [float(x), int(x), x.item()]


@case
def setitem_mask(T: Any) -> Any:
    x = leaf(T, 1, 2, 3)
    y = x * 1
    y[y > 1.5] = 0
    return gradient(y, x)


@case
def none_hook_remove(T: Any) -> Any:
    x = leaf(T, 1)
    h = x.register_hook(lambda g: g * 5)
    h.remove()
    h.remove()
    return gradient(x, x)


@case
def backward_hook_clear(T: Any, x: Any) -> Any:
    y = x * 2
    y.retain_grad()
    y.sum().backward()
    y.grad.zero_()
    return [y.grad, x.grad]


@case
def gradcheck_nondet(T: Any) -> Any:
    n = [0]

    def b(ctx, g):
        n[0] += 1
        return g * (2 + 1e-07 * n[0])

    F = function(T, forward=lambda ctx, x: x * 2, backward=b)
    return T.autograd.gradcheck(F.apply, (leaf(T, 1),))


@case
def forward_ad(T: Any) -> Any:
    fa = T.autograd.forward_ad
    with fa.dual_level():
        x = fa.make_dual(T.tensor([1.0, 2.0]), T.tensor([1.0, 0.0]))
        y = x * x
        u = fa.unpack_dual(y)
        return [u.primal, u.tangent, fa.unpack_dual(T.ones(2)).tangent]


@case
def functional_jac(T: Any, F: Any) -> Any:
    x = T.tensor([1.0, 2.0])
    y = T.tensor([3.0])
    return [
        F.jacobian(lambda a, b: (a * b, a.sum()), (x, y)),
        F.hessian(lambda a, b: (a**2 * b).sum(), (x, y)),
        F.vjp(lambda a: a**2, x, T.ones(2)),
        F.jvp(lambda a: a**2, x, T.ones(2)),
        F.vhp(lambda a: (a**3).sum(), x, T.ones(2)),
        F.hvp(lambda a: (a**3).sum(), x, T.ones(2)),
    ]


@case
def functional_create(T: Any, F: Any) -> Any:
    x = T.tensor([1.0, 2.0], requires_grad=True)
    j = F.jacobian(lambda a: a**3, x, create_graph=True)
    j.sum().backward()
    return [
        j.requires_grad,
        x.grad,
        F.jacobian(lambda a: a**3, x).requires_grad,
        F.hessian(lambda a: (a**3).sum(), x).requires_grad,
        F.vjp(lambda a: a**2, x, T.ones(2)),
    ]


@case
def accumulate_view(T: Any, x: Any) -> Any:
    g = T.ones(2, dtype=T.float64)
    x.grad = g
    (x * 2).sum().backward()
    return [g, x.grad is g]
