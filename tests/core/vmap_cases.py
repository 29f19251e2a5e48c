"""torch.func: vmap."""

from __future__ import annotations

from typing import Any

from tests.core.leaves import numbers
from tests.recorded import Case, collected

CASES: dict[str, Case] = {
    "vmap_1": lambda T: T.func.vmap(T.dot)(numbers(T, 3, 2), numbers(T, 3, 2)),
    "vmap_in": lambda T: T.func.vmap(lambda x, y: x @ y, in_dims=(1, None))(numbers(T, 2, 3), numbers(T, 2)),
    "vmap_out": lambda T: T.func.vmap(lambda x: (x, x * 2), in_dims=1, out_dims=(1, 0))(numbers(T, 2, 3)),
    "vmap_outneg": lambda T: T.func.vmap(lambda x: x, out_dims=-1)(numbers(T, 2, 3)),
    "vmap_inneg": lambda T: T.func.vmap(lambda x: x * 2, in_dims=-1)(numbers(T, 2, 3)),
    "vmap_tree": lambda T: T.func.vmap(
        lambda d, e: {"s": d["a"] + d["b"][0] * e}, in_dims=({"a": 0, "b": [None]}, None)
    )({"a": numbers(T, 3, 2), "b": [numbers(T, 2)]}, 2.0),
    "vmap_outtree": lambda T: T.func.vmap(lambda x: {"a": x, "b": x * 2}, out_dims={"a": 1, "b": 0})(numbers(T, 3, 2)),
    "vmap_outnone": lambda T: T.func.vmap(lambda x, y: (x, y), in_dims=(0, None), out_dims=(0, None))(
        numbers(T, 3, 2), numbers(T, 2)
    ),
    "vmap_kw": lambda T: T.func.vmap(lambda x, *, y: x + y)(numbers(T, 3), y=numbers(T, 3)),
    "vmap_kw2": lambda T: T.func.vmap(lambda x, *, y: x + y.sum())(numbers(T, 3, 2), y=numbers(T, 3, 2)),
    "vmap_nested": lambda T: T.func.vmap(T.func.vmap(lambda x, y: x * y, in_dims=(None, 0)), in_dims=(0, None))(
        numbers(T, 3), numbers(T, 4)
    ),
    "vmap_scalarout": lambda T: T.func.vmap(lambda x: 3.0)(numbers(T, 3)),
    "vmap_noneout": lambda T: T.func.vmap(lambda x: None)(numbers(T, 3)),
    "vmap_noargs": lambda T: T.func.vmap(lambda: T.ones(2))(),
    "vmap_allnone": lambda T: T.func.vmap(lambda x: x, in_dims=None)(numbers(T, 2)),
    "vmap_sizes": lambda T: T.func.vmap(lambda x, y: x)(numbers(T, 2), numbers(T, 3)),
    "vmap_0d": lambda T: T.func.vmap(lambda x: x)(T.tensor(1.0)),
    "vmap_range": lambda T: T.func.vmap(lambda x: x, in_dims=2)(numbers(T, 2, 2)),
    "vmap_struct": lambda T: T.func.vmap(lambda x: x, in_dims=(0, 0))(numbers(T, 2, 2)),
    "vmap_outstruct": lambda T: T.func.vmap(lambda x: x, out_dims=(0, 0))(numbers(T, 2, 2)),
    "vmap_chunk": lambda T: T.func.vmap(lambda x: (x.sum(), x), chunk_size=2, out_dims=(0, 1))(numbers(T, 5, 2)),
    "vmap_chunk0": lambda T: T.func.vmap(lambda x: x, chunk_size=0)(numbers(T, 5, 2)),
    "vmap_item": lambda T: T.func.vmap(lambda x: x.item())(numbers(T, 3)),
    "vmap_if": lambda T: T.func.vmap(lambda x: x if x > 0 else -x)(numbers(T, 3)),
    "vmap_nonzero": lambda T: T.func.vmap(lambda x: x.nonzero())(numbers(T, 3, 2)),
    "vmap_gather": lambda T: T.func.vmap(lambda x, i: x[i])(numbers(T, 3, 4), T.tensor([0, 2, 1])),
    "vmap_gather2": lambda T: T.func.vmap(lambda x, i: x[i], in_dims=(None, 0))(
        numbers(T, 4), T.tensor([[0, 2], [1, 1]])
    ),
    "vmap_where": lambda T: T.func.vmap(lambda x: T.where(x > 0.5, x, 0.0))(numbers(T, 3, 4)),
    "vmap_grad": lambda T: T.func.vmap(T.func.grad(lambda w, x: (w * x).sum() ** 2), in_dims=(None, 0))(
        numbers(T, 2), numbers(T, 3, 2)
    ),
    "vmap_mode": lambda T: T.func.vmap(lambda x: T.einsum("i,j->ij", x, x))(numbers(T, 3, 2)),
    "vmap_conv": lambda T: T.func.vmap(lambda x, w: T.nn.functional.conv2d(x, w, padding=1))(
        numbers(T, 2, 1, 2, 5, 5), numbers(T, 2, 3, 2, 3, 3)
    ),
    "vmap_conv2": lambda T: T.func.vmap(lambda x, w: T.nn.functional.conv2d(x, w, padding=1), in_dims=(None, 0))(
        numbers(T, 1, 2, 5, 5), numbers(T, 2, 3, 2, 3, 3)
    ),
    "vmap_bn": lambda T: T.func.vmap(lambda x: T.nn.functional.batch_norm(x, None, None, training=True))(
        numbers(T, 2, 4, 3)
    ),
    "vmap_ce": lambda T: T.func.vmap(lambda x, t: T.nn.functional.cross_entropy(x, t))(
        numbers(T, 2, 4, 3), T.tensor([[0, 1, 2, 0], [1, 1, 1, 2]])
    ),
    "vmap_sort": lambda T: T.func.vmap(lambda x: T.sort(x))(numbers(T, 3, 4)),
    "vmap_split": lambda T: T.func.vmap(lambda x: x.split(2))(numbers(T, 3, 4)),
    "vmap_stack": lambda T: T.func.vmap(lambda x, y: T.stack([x, y]), in_dims=(0, None))(
        numbers(T, 3, 4), numbers(T, 4)
    ),
    "vmap_linalg": lambda T: T.func.vmap(lambda x: T.linalg.inv(x @ x.T + T.eye(2, dtype=T.float64)))(
        numbers(T, 3, 2, 2)
    ),
    "vmap_rand_err": lambda T: T.func.vmap(lambda x: x + T.rand(2))(T.zeros(3, 2)),
    "vmap_dropout_err": lambda T: T.func.vmap(lambda x: T.nn.functional.dropout(x))(T.ones(3, 50)),
    "vmap_multinomial": lambda T: [
        list(T.func.vmap(lambda x: T.multinomial(x, 3), randomness="different")(T.ones(2, 10)).shape)
    ],
}
case = collected(CASES)


@case
def vmap_inplace(T: Any) -> Any:
    def f(x):
        x.add_(1)
        return x

    a = numbers(T, 3, 2)
    return [T.func.vmap(f)(a), a]


@case
def vmap_inplace_unb(T: Any) -> Any:
    def f(x, y):
        y.add_(x)
        return y

    return T.func.vmap(f, in_dims=(0, None))(numbers(T, 3, 2), numbers(T, 2))


@case
def vmap_setitem(T: Any) -> Any:
    def f(x):
        y = T.zeros_like(x)
        y[0] = x[1]
        return y

    return T.func.vmap(f)(numbers(T, 3, 2))


@case
def vmap_newzeros(T: Any) -> Any:
    def f(x):
        y = x.new_zeros(2)
        y[0] = x[1]
        return y

    return T.func.vmap(f)(numbers(T, 3, 2))


@case
def vmap_shape(T: Any) -> Any:
    out = []
    T.func.vmap(lambda x: out.append([list(x.shape), x.dim(), x.numel()]) or x)(numbers(T, 3, 4))
    return out


@case
def vmap_randsame(T: Any) -> Any:
    r = T.func.vmap(lambda x: x + T.rand(2), randomness="same")(T.zeros(3, 2))
    return [bool((r[0] == r[1]).all())]


@case
def vmap_randdiff(T: Any) -> Any:
    r = T.func.vmap(lambda x: x + T.rand(2), randomness="different")(T.zeros(3, 2))
    return [bool((r[0] == r[1]).any())]


@case
def vmap_randlike_diff(T: Any) -> Any:
    r = T.func.vmap(lambda x: T.rand_like(x), randomness="different")(T.zeros(3, 20))
    return [list(r.shape), bool((r[0] == r[1]).any())]


@case
def vmap_randlike_same(T: Any) -> Any:
    r = T.func.vmap(lambda x: T.rand_like(x), randomness="same")(T.zeros(3, 20))
    return [list(r.shape), bool((r[0] == r[1]).all())]


@case
def vmap_dropout_diff(T: Any) -> Any:
    r = T.func.vmap(lambda x: T.nn.functional.dropout(x), randomness="different")(T.ones(3, 50))
    return [list(r.shape), bool((r[0] == r[1]).all())]


@case
def vmap_dropout_same(T: Any) -> Any:
    r = T.func.vmap(lambda x: T.nn.functional.dropout(x), randomness="same")(T.ones(3, 50))
    return [list(r.shape), bool((r[0] == r[1]).all())]


@case
def vmap_dropout_unb(T: Any) -> Any:
    c = T.ones(50)
    r = T.func.vmap(lambda x: T.nn.functional.dropout(c), randomness="different")(T.ones(3, 50))
    return [list(r.shape), bool((r[0] == r[1]).all())]


@case
def vmap_bernoulli(T: Any) -> Any:
    r = T.func.vmap(lambda x: T.bernoulli(x), randomness="different")(T.full((3, 50), 0.5))
    return [list(r.shape), bool((r[0] == r[1]).all())]


@case
def vmap_randperm(T: Any) -> Any:
    r = T.func.vmap(lambda x: x + T.randperm(20), randomness="different")(T.zeros(3, 20))
    return [list(r.shape), bool((r[0] == r[1]).all()), bool((r.sort(-1).values == T.arange(20.0)).all())]


@case
def vmap_normal_(T: Any) -> Any:
    r = T.func.vmap(lambda x: T.empty_like(x).normal_(), randomness="different")(T.zeros(3, 20))
    return [list(r.shape), bool((r[0] == r[1]).any())]


@case
def vmap_uniform_unb(T: Any) -> Any:
    r = T.func.vmap(lambda x: x + T.empty(20).uniform_(), randomness="same")(T.zeros(3, 20))
    return [list(r.shape), bool((r[0] == r[1]).all())]


@case
def vmap_nested_rand(T: Any) -> Any:
    r = T.func.vmap(T.func.vmap(lambda x: x + T.rand(4), randomness="same"), randomness="different")(T.zeros(2, 3, 4))
    return [bool((r[0, 0] == r[0, 1]).all()), bool((r[0] == r[1]).all())]


@case
def vmap_randint(T: Any) -> Any:
    r = T.func.vmap(lambda x: x + T.randint(0, 1000, (5,)), randomness="different")(T.zeros(2, 5))
    return [list(r.shape), bool((r[0] == r[1]).all())]


def _factor(T: Any) -> Any:
    return T.tensor([[2.0, 0.0], [0.5, 1.5]], dtype=T.float64)


@case
def vmap_histc_bounds(T: Any) -> Any:
    x = T.tensor([[0.0, 1.0, 4.0], [2.0, 2.0, 2.0]])
    return T.func.vmap(lambda v: T.histc(v, bins=4))(x)


@case
def vmap_interleaved(T: Any) -> Any:
    return T.func.vmap(T.repeat_interleave)(numbers(T, 2, 3), T.tensor([[0, 1, 2], [3, 0, 0]]))


@case
def vmap_interleaved_one(T: Any) -> Any:
    return T.func.vmap(T.repeat_interleave)(numbers(T, 2, 3), T.tensor([[2], [2]]))


@case
def vmap_lstsq_residuals(T: Any) -> Any:
    a = T.stack([T.eye(3, 2), T.eye(3, 2) + 1]).double()
    found = T.func.vmap(lambda a, b: tuple(T.linalg.lstsq(a, b, driver="gelsd"))[:2])(a, numbers(T, 2, 3, 1))
    return list(found)


@case
def vmap_shortened_rows(T: Any) -> Any:
    weight, index = numbers(T, 2, 3, 2) * 4, T.tensor([[2, 0, 2], [1, 1, 1]])
    out = T.func.vmap(lambda w, i: T.nn.functional.embedding(i, w, max_norm=1.0))(weight, index)
    return [out, weight]


@case
def shortened_rows_per_sample(T: Any) -> Any:
    loss = lambda w, i: (T.nn.functional.embedding(i, w, max_norm=1.0) ** 2).sum()  # noqa: E731
    return T.func.vmap(T.func.grad(loss))(numbers(T, 2, 3, 2) * 4, T.tensor([[2, 0, 2], [1, 1, 1]]))


@case
def cholesky_solve_jvp(T: Any) -> Any:
    """A direction that is no triangle counts whole."""
    solve = lambda L: T.cholesky_solve(numbers(T, 2, 1), L)  # noqa: E731
    return T.func.jvp(solve, (_factor(T),), (numbers(T, 2, 2),))


@case
def cholesky_solve_upper_jvp(T: Any) -> Any:
    solve = lambda b, L: T.cholesky_solve(b, L, upper=True)  # noqa: E731
    return T.func.jvp(solve, (numbers(T, 2, 1), _factor(T).T), (numbers(T, 2, 1) - 1, numbers(T, 2, 2)))


@case
def normal_jvp(T: Any) -> Any:
    return T.func.jvp(T.normal, (numbers(T, 3), numbers(T, 3)), (numbers(T, 3), numbers(T, 3)))[1]
