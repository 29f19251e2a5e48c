"""What the samples and wrong calls of PyTorch's own database of ops showed: dtypes, places, shapes, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.recorded import Case, Inputs, OnInputs, on_inputs

CASES: dict[str, Case] = {}
gradients: Callable[[str, OnInputs], None] = on_inputs(CASES)


def answers(text: str) -> None:
    """Each line an expression of T, or of the numbers ``i`` (2, 2) and ``v`` (2,) in int64, or an error."""
    for line in filter(None, map(str.strip, text.splitlines())):
        fn: Callable[..., Any] = eval(f"lambda T, i, v, b, x: {line}")
        assert line not in CASES, line
        CASES[line] = lambda T, fn=fn: fn(
            T,
            T.tensor([[1, 2], [3, 4]]),
            T.tensor([5, 6]),
            T.tensor([True, False]),
            T.tensor([[1.5, -2.0], [0.5, 3.0]]),
        )


# -- products of whole numbers and of bools ----------------------------------------------------------
answers("""
T.addmm(i, i, i, beta=1.5, alpha=2.5)
i.clone().addmm_(i, i, beta=1.5, alpha=2.5)
T.addmv(v, i, v, beta=0.5, alpha=1.5)
T.baddbmm(i[None], i[None], i[None], beta=2.5, alpha=0.5)
T.addbmm(i.int(), i[None].int(), i[None].int(), beta=2.5, alpha=1.5)
T.addmv(v.byte(), i.byte(), v.byte(), alpha=2.5)
T.addr(i, v, v, beta=2, alpha=3)
T.addr(i, v, v, alpha=2.0)
T.addr(i, v, v, alpha=True)
T.addmm(x, x, x, alpha=1j)
T.addr(i > 2, b, ~b)
T.addr(i > 2, b, b, beta=False)
T.addr(i > 2, b, b, beta=0, alpha=2)
(i > 2).addr_(b, b)
i.int().sum_to_size(())
(i > 2).sum_to_size(())
T.tensor(True).sum_to_size(())
(i > 2).sum_to_size(2, 1)
(i > 2).sum_to_size(2, 2)
T.tensordot(T.ones(1, 1, 1, dtype=T.uint8), T.ones(2, 1, 2, dtype=T.uint8), dims=[[0, 1], [2, 0]])
""")

# -- ranges ------------------------------------------------------------------------------------------
answers("""
T.arange(0.5, 3.7, 1.2, dtype=T.int32)
T.arange(3.1, dtype=T.int64)
T.arange(3.1, dtype=T.int32)
T.arange(5, 0.5, -1.5, dtype=T.int64)
T.arange(0.0, -8.000001, -4.0, dtype=T.int64)
T.arange(0, 1, 0.25, dtype=T.int32)
T.arange(0, 1, 0.25, dtype=T.int64)
T.arange(1.5, 1.2, -1, dtype=T.int64)
T.arange(0, 5, 1.5, dtype=T.uint8)
T.linspace(0.5, 3.7, 5, dtype=T.int64)
T.linspace(4.3, -3, 9, dtype=T.int64)
T.linspace(T.tensor(4.3), T.tensor(0), 9, dtype=T.uint8)
T.linspace(0, 3, 1.0)
T.linspace(0, 3, -1)
T.logspace(0, 1.2, 4, dtype=T.int64)
T.logspace(4, -3, 4, dtype=T.int32)
T.logspace(0, 3, 4, base=2.5, dtype=T.int64)
""")

# -- statistics, differences, integrals --------------------------------------------------------------
answers("""
T.cov(x[:1])
T.cov(i[:1], fweights=T.tensor([2, 1]))
T.corrcoef(x[:1])
T.cov(x, fweights=T.ones(2))
T.cov(x, fweights=T.tensor([1, -1]))
T.cov(x, aweights=T.tensor([1, 2]))
T.cov(x, aweights=T.tensor([1.0, -1.0]))
T.gradient(x, spacing=None)
T.gradient(x, dim=(1, 1))
T.diff(x, 0, 0, x, x)
T.diff(x, -1)
T.trapezoid(T.tensor([1, 200, 3]).byte(), T.tensor([3, 1, 7]).byte())
T.trapezoid(T.tensor([100, 100, 3]).to(T.int8))
T.trapezoid(T.tensor([1, 200, 3]).byte(), dx=2)
T.trapezoid(x[:, :0])
T.cumulative_trapezoid(T.tensor([1, 200, 3]).byte(), T.tensor([3, 1, 7]).byte())
T.cumulative_trapezoid(x, dx=0.5)
T.unravel_index(T.tensor([4]).byte(), (4, 1073741824))
T.special.zeta(T.tensor([2.0, 2.0, 2.5, 0.5, 1.0]), T.tensor([-1.0, 0.0, -1.5, -1.0, -1.0]))
""")

# -- matrices ----------------------------------------------------------------------------------------
answers("""
T.linalg.vander(T.tensor(3.0), N=2)
T.linalg.vander(v, N=1)
T.vander(v, 1)
T.linalg.matrix_rank(T.ones(2, 3, 3), atol=T.tensor([1.0, 9.0]))
T.linalg.matrix_rank(T.ones(2, 3, 3), rtol=T.tensor([1.0, 0.1]))
T.linalg.matrix_rank(T.ones(0, 3, 3), rtol=T.ones(0))
T.linalg.matrix_norm(T.ones(2, 0, 3), 2)
T.linalg.matrix_norm(T.ones(2, 0, 3), float("inf"))
T.linalg.matrix_norm(T.ones(2, 0, 3), 1)
T.linalg.matrix_norm(T.ones(0, 0), 1)
T.linalg.matrix_norm(T.ones(0, 3), -1)
T.linalg.vector_norm(T.ones(0), -1)
[t.shape for t in T.linalg.lu(T.ones(0, 3, 5))]
T.logdet(T.tensor([[1 + 2j, 0], [0, 2]]))
T.linalg.lu_solve(*T.linalg.lu_factor(x), x, adjoint=True)
T.linalg.lu_solve(*T.linalg.lu_factor(x), x, left=False)
T.linalg.lu_solve(*T.linalg.lu_factor(x), x, left=False, adjoint=True)
T.linalg.cholesky(T.tensor([[4.0, 2.0], [2.0, 5.0]]), out=T.empty(0))
T.linalg.qr(x, out=(T.empty(0), T.empty(0))).R.abs()
T.linalg.inv(x, out=T.empty(0, dtype=T.float64))
T.broadcast_shapes([5, 10, 5], [10, 5], 1)
""")


def _found(T: Any, a: Any, b: Any, driver: str | None) -> list[Any]:
    found = T.linalg.lstsq(a, b, driver=driver)
    return [*(t for t in found if t.numel()), *(n for t in found for n in t.shape)]


for driver in (None, "gels", "gelsy", "gelsd", "gelss"):
    for name, rows in (("tall", 3), ("square", 2), ("wide", 1)):
        gradients(
            f"lstsq {driver} {name}", lambda T, m, d=driver, n=rows: _found(T, m.x(n, 2), m.x(n, 1, grad=False), d)
        )
gradients("lstsq of low rank", lambda T, m: _found(T, T.ones(3, 2).double(), m.x(3, 1, grad=False), "gelsd"))


# -- places ------------------------------------------------------------------------------------------
answers("""
T.zeros(3).index_fill(0, T.tensor([-1]), 2.0)
T.zeros(3).index_fill_(0, T.tensor([-1]), 2.0)
T.zeros(3).index_fill(0, T.tensor([-3]), T.tensor(2.0))
T.zeros(3).index_fill_(0, T.tensor([-3, 0]), T.tensor(2.0))
T.zeros(3).index_fill(0, T.tensor([-4]), 1.0)
T.zeros(3).index_fill(0, T.tensor([3]), T.tensor(1.0))
T.tensor(1.0).index_fill(0, T.tensor([-1]), 2.0)
T.zeros(3).index_fill(0, T.tensor([1]), 2j)
T.full((2,), 2j, dtype=T.float32)
i**-1
T.pow(i, T.tensor(-1))
i.pow_(T.tensor(-1))
T.div(-7.5, 2, rounding_mode="trunc")
T.ones(2, 3)[..., ..., 0]
T.ones(2, 3)[..., ...]
T.ones(3)[..., ..., 0]
T.ones(3)[..., ..., None]
T.ones(2, 3)[..., 0, ...]
T.ones(2, 3, 4)[..., 0, ..., 1]
T.ones(2, 3, 4)[0, ..., ..., T.tensor([0])]
T.ones(3, 0)[T.tensor([7])]
T.ones(3, 0)[:, T.tensor([7])]
T.ones(0, 3)[:, T.tensor([7])]
T.ones(0, 3)[T.tensor([[7]])]
T.ones(3, 4, 0)[T.tensor([7]), T.tensor([1])]
T.ones(3, 4)[T.tensor([7]), T.zeros(0, dtype=T.int64)]
T.ones(3, 0)[[0, 7], [0, 0]]
T.ones(3, 0).index_put((T.tensor([7]),), T.tensor(1.0))
T.ones(3, 0).index_put_((T.tensor([7]),), T.ones(1, 0))
T.ones(3, 4, 0).index_put((T.tensor([7]), T.tensor([1])), T.tensor(1.0), accumulate=True)
T.ones(3, 0).index_add(0, T.tensor([7]), T.ones(1, 0))
T.ones(5).gather(0, T.zeros(2, 0, dtype=T.int64))
T.zeros(3).scatter(0, T.zeros(2, 0, dtype=T.int64), T.ones(2, 0))
T.zeros(3).scatter_add(0, T.zeros(0, dtype=T.int64), T.ones(5))
T.zeros(2, 3).scatter_reduce(0, T.zeros(0, dtype=T.int64), T.ones(5), "amax")
T.ones(3).gather(0, T.tensor([3]))
T.ones(3).scatter(0, T.tensor([-1]), 1.0)
x.masked_fill(x > 0, T.tensor(1j))
i.masked_fill(i, 1)
T.where(x, x, x)
T.roll(T.tensor(1.0), 0, 0)
T.roll(T.tensor(1.0), 0)
T.rot90(T.ones(3))
T.narrow(x, 0, T.tensor(True), 1)
x.unfold(0, 1, 1)
""")

# -- what is written to ------------------------------------------------------------------------------
answers("""
x.cumsum_(0, dtype=T.float32)
x.cumsum_(0, dtype=T.float64)
i.cumprod_(1, dtype=T.int64)
T.tensor([1j]).abs_()
i.logit_()
i.mvlgamma_(1)
i.polygamma_(1)
T.gather(x, 0, i * 0, out=T.empty(2, 2, dtype=T.float64))
T.aminmax(x, dim=0, out=(T.empty(2), T.empty(2, dtype=T.float64)))
T.mm(x, x, out=T.empty(2, 2, dtype=T.float64))
T.add(x, x, out=T.empty(2, 2, dtype=T.float64))
T.complex(x, x, out=T.empty(2, 2, dtype=T.complex128))
T.add(v, v, out=T.ones(1, dtype=T.int64).expand(2))
T.cat([v, v], out=T.ones(1, dtype=T.int64).expand(4))
T.slice_scatter(x, x[:1], 0, 0, 1, out=T.empty(0))
T.diff(x, 0, 0, x, x, out=T.empty(0))
""")

# -- numbers where tensors are wanted ----------------------------------------------------------------
for call in ("T.fmax", "T.fmin", "T.gcd", "T.lcm", "T.heaviside", "T.ldexp", "T.logaddexp2", "T.isclose", "T.polar"):
    answers(f"{call}(i, 2)\n{call}(2, i)\n{call}(2, 3)")
for call in ("T.fmod", "T.clamp_min", "T.clamp_max", "T.rsub", "T.max", "T.min"):
    answers(f"{call}(2, i)\n{call}(2, 3)")
for call in (
    "T.pow",
    "T.atan2",
    "T.bitwise_and",
    "T.bitwise_left_shift",
    "T.remainder",
    "T.xlogy",
    "T.maximum",
    "T.eq",
):
    answers(f"{call}(2, 3)")
answers(
    "T.exp(2.0)\nT.sum(2.0)\nT.add(2, 3)\nT.mul(2, 3.5)\nT.addcmul(x, 2.0, x)\nT.lerp(x, 2.0, 0.5)\nT.complex(x, 1)"
)


# -- gradients ---------------------------------------------------------------------------------------
def _factor(T: Any, m: Inputs, upper: bool) -> Any:
    x = m.x(3, 3)
    return T.triu(x) + 3 * T.eye(3).double() if upper else T.tril(x) + 3 * T.eye(3).double()


def _complex(T: Any, m: Inputs) -> Any:
    return T.complex(m.x(3, 3), m.x(3, 3)) + 3 * T.eye(3).double()


def _leaf(m: Inputs, x: Any) -> Any:
    m.leaves = [x.detach().requires_grad_()]
    return m.leaves[0]


for upper in (False, True):
    gradients(f"cholesky_solve {upper}", lambda T, m, u=upper: T.cholesky_solve(
        m.x(3, 2, grad=False), _leaf(m, _factor(T, m, u)), upper=u))  # fmt: skip
    gradients(f"cholesky_inverse {upper}", lambda T, m, u=upper: T.cholesky_inverse(
        _leaf(m, _factor(T, m, u)), upper=u))  # fmt: skip

    def _definite(T: Any, m: Inputs, u: bool = upper) -> Any:
        a = _complex(T, m)
        found = T.linalg.cholesky(_leaf(m, a @ a.mH), upper=u)
        return T.view_as_real(found.resolve_conj())

    gradients(f"cholesky of complex {upper}", _definite)
    gradients(f"eigh {upper}", lambda T, m, u=upper: T.linalg.eigh(m.x(3, 3), "U" if u else "L")[1].abs())
for name, shape in (("tall", (4, 2)), ("wide", (2, 4)), ("batch", (2, 3, 2))):
    gradients(f"lu {name}", lambda T, m, s=shape: list(T.linalg.lu(m.x(*s))[1:]))
    gradients(f"svd full {name}", lambda T, m, s=shape: T.linalg.svd(m.x(*s))[1])
gradients("svd full, vectors", lambda T, m: T.linalg.svd(m.x(4, 2))[2].abs())
gradients("ldexp complex", lambda T, m: T.view_as_real(T.ldexp(T.complex(m.x(3), m.x(3)), T.complex(m.x(3), m.x(3)))))
gradients("index_fill value", lambda T, m: m.x(3, 2).index_fill(0, T.tensor([1, 1, 2]), m.x()))
gradients("unfold 0-d", lambda T, m: m.x().unfold(0, 1, 1))
gradients("gather nothing", lambda T, m: m.x(5).gather(0, T.zeros(2, 0, dtype=T.int64)))
gradients("xlogy by a number", lambda T, m: T.xlogy(m.x(3), 2.5))
gradients("logdet complex", lambda T, m: T.view_as_real(T.logdet(_complex(T, m))))
gradients("tensordot of a size of 1", lambda T, m: T.tensordot(m.x(1, 2), m.x(3, 2), dims=([0, 1], [0, 1])))
gradients("diff of order 0", lambda T, m: T.diff(m.x(3), 0, 0, m.x(2, grad=False)))
gradients("gradient", lambda T, m: list(T.gradient(m.x(3, 4), spacing=None)))

for _name, _shift in (("lu_solve", {}), ("lu_solve adjoint", {"adjoint": True}), ("lu_solve right", {"left": False})):
    gradients(_name, lambda T, m, k=_shift: T.linalg.lu_solve(*T.linalg.lu_factor(m.x(3, 3)), m.x(3, 3), **k))


def _ranked(name: str, dtype: str, dim: int) -> None:
    """kthvalue of every rank among many equals: of these PyTorch names the one that its selection finds."""

    def run(T: Any) -> Any:
        x = (T.arange(60).reshape(3, 20) * 7 % 11 % 4).to(getattr(T, dtype))
        if dtype == "float64":
            x[:, ::5] = float("nan")
        return [T.kthvalue(x, k, dim, keepdim=k % 2 == 0) for k in range(1, x.shape[dim] + 1)]

    CASES[f"kthvalue {name}"] = run


_ranked("rows", "int64", 1)
_ranked("columns", "float32", 0)
_ranked("nan", "float64", -1)
gradients("kthvalue of equals", lambda T, m: T.kthvalue(m.x(9) * 0 + T.arange(9) % 3, 5)[0])
