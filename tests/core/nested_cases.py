"""``nested``: sequences of several lengths in the jagged layout, their functions and gradients."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, Inputs, collected, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)


def nested(T: Any) -> Any:
    return __import__(f"{T.__name__}.nested", fromlist=["nested"])


def functional(T: Any) -> Any:
    return __import__(f"{T.__name__}.nn.functional", fromlist=["functional"])


def made(T: Any, n: Inputs, width: int = 4) -> Any:
    """Sequences of 2, 3 and 1 places, each a leaf."""
    return nested(T).as_nested_tensor([n.x(2, width), n.x(3, width), n.x(1, width)], layout=T.jagged)


def rows(value: Any) -> Any:
    """The sequences; of a dense tensor itself."""
    return list(value.unbind()) if getattr(value, "is_nested", False) else value


def heads(x: Any) -> Any:
    return x.unflatten(-1, (2, 2)).transpose(1, 2)


def attended(T: Any, n: Inputs) -> Any:
    x = made(T, n)
    q, k, v = (heads(functional(T).linear(x, n.x(4, 4))) for _ in range(3))
    found = functional(T).scaled_dot_product_attention(q, k, v)
    return found.transpose(1, 2).flatten(-2)


#: Where x is detached PyTorch has no gradient, or crashes.
ON_ROWS: dict[str, Any] = {
    "unary": lambda T, x, n: [x.sin(), -x, x.relu(), functional(T).gelu(x), T.tanh(x)],
    "numbers": lambda T, x, n: [x + 1, 2 * x, x / 3, 1 - x],
    "binary": lambda T, x, n: [x * x, x + x.cos(), x - x * 2],
    "dense_rows": lambda T, x, n: [x * n.x(4), n.x(4) + x],
    "dense_batch": lambda T, x, n: [x + n.x(3, 3, 4, grad=False)],
    "where": lambda T, x, n: [T.where(x > 0, x, x * 2), x.masked_fill(x > 0, 0.0)],
    "linear": lambda T, x, n: [functional(T).linear(x, n.x(3, 4), n.x(3))],
    "matmul": lambda T, x, n: [T.matmul(x, n.x(4, 2)), x @ n.x(4, 3)],
    "layer_norm": lambda T, x, n: [functional(T).layer_norm(x, (4,), n.x(4), n.x(4))],
    "softmax": lambda T, x, n: [x.softmax(-1), T.softmax(x.detach(), 1)],
    "sums": lambda T, x, n: [(d := x.detach()).sum(), d.sum(1), d.sum(-1), d.sum(1, keepdim=True)],
    "means": lambda T, x, n: [(d := x.detach()).mean(), d.mean(1), d.mean(-1), d.mean((0, 1))],
    "extremes": lambda T, x, n: [x.amax(1), x.amin(1), x.amax(-1)],
    "padded": lambda T, x, n: [nested(T).to_padded_tensor(x, 2.0), x.sin().to_padded_tensor(-1.0)],
    "views": lambda T, x, n: [x.view(3, -1, 2, 2), x.reshape(3, -1, 4, 1), x.unflatten(-1, (2, 2)).flatten(-2), x[1]],
    "splits": lambda T, x, n: [*x.detach().chunk(2, -1), *x.detach().split([1, 3], -1)],
    "values": lambda T, x, n: [x.values(), x.offsets()],
}
for _name, _fn in ON_ROWS.items():
    case(f"on_{_name}", lambda T, n, _fn=_fn: [rows(v) for v in _fn(T, made(T, n), n)])
case("attention", lambda T, n: rows(attended(T, n)))


@collected(CASES)
def facts(T: Any) -> Any:
    x = nested(T).nested_tensor([T.ones(2, 4), T.zeros(3, 4)], layout=T.jagged)
    y = nested(T).nested_tensor([T.ones(2, 4), T.zeros(3, 4)], layout=T.jagged)
    return [
        x.is_nested, x.dim(), x.ndim, len(x), x.size(0), x.size(-1), x.shape[2], x.numel(), x.is_contiguous(),
        x.transpose(1, 2).is_contiguous(), x.shape == (x + 1).shape, x.shape == y.shape, x.lengths() is None,
        x.requires_grad, x.is_leaf, str(x.layout).split(".")[-1], nested(T).as_nested_tensor(x, layout=T.jagged) is x,
    ]  # fmt: skip


@collected(CASES)
def from_jagged(T: Any) -> Any:
    values, offsets = T.arange(10.0).reshape(5, 2), T.tensor([0, 2, 5])
    make = nested(T).nested_tensor_from_jagged
    found = [make(values, offsets), make(values, lengths=T.tensor([2, 3])), make(values, offsets, T.tensor([1, 3])),
             make(values.T.contiguous(), offsets, jagged_dim=2)]  # fmt: skip
    return [[rows(x), x.offsets()] for x in found]


@collected(CASES)
def narrowed_and_selected(T: Any) -> Any:
    x = T.arange(24.0).reshape(2, 4, 3)
    n = nested(T).narrow(x, 1, T.tensor([0, 1]), T.tensor([2, 3]), layout=T.jagged)
    s = nested(T).masked_select(x[0], T.tensor([[True, False, True]]).expand(4, 3))
    return [rows(n), n.offsets(), n.lengths(), n.is_contiguous(), n.contiguous().values(), rows(n + 1), rows(s)]


@collected(CASES)
def gradients_are_nested(T: Any) -> Any:
    x = nested(T).nested_tensor([T.ones(1, 2), T.arange(4.0).reshape(2, 2)], layout=T.jagged, requires_grad=True)
    (x * x).sum().backward()
    return [x.grad.is_nested, rows(x.grad), x.requires_grad]


@collected(CASES)
def what_is_made(T: Any) -> Any:
    make = nested(T).nested_tensor
    x = make([T.ones(2, 3), T.ones(2, 5)], layout=T.jagged)
    return [rows(x), rows(make([T.ones(1), T.ones(2)], layout=T.jagged, dtype=T.float64)),
            rows(make(T.ones(2, 3, 2), layout=T.jagged)), rows(x.double())]  # fmt: skip


WRONG: dict[str, Any] = {
    "nothing": lambda T, ne, x: ne.nested_tensor([], layout=T.jagged),
    "numbers": lambda T, ne, x: ne.nested_tensor([T.tensor(1.0)], layout=T.jagged),
    "dimensions": lambda T, ne, x: ne.nested_tensor([T.ones(2), T.ones(2, 2)], layout=T.jagged),
    "dtypes": lambda T, ne, x: ne.nested_tensor([T.ones(2), T.ones(2).double()], layout=T.jagged),
    "no_list": lambda T, ne, x: ne.nested_tensor(3, layout=T.jagged),
    "no_offsets": lambda T, ne, x: ne.nested_tensor_from_jagged(T.ones(5, 2)),
    "unlike": lambda T, ne, x: x + ne.nested_tensor([T.ones(1, 2), T.ones(1, 2)], layout=T.jagged),
    "sum_of_batch": lambda T, ne, x: x.sum(0),
    "sum_of_ragged_and_other": lambda T, ne, x: x.sum((1, 2)),
    "flatten": lambda T, ne, x: x.flatten(1, 2),
    "unbind": lambda T, ne, x: x.unbind(1),
    "sort": lambda T, ne, x: T.sort(x),
    "cumsum": lambda T, ne, x: x.cumsum(1),
    "index": lambda T, ne, x: x[:, 0],
}
for _name, _fn in WRONG.items():

    def _wrong(T: Any, fn: Any = _fn) -> Any:
        return fn(T, nested(T), nested(T).nested_tensor([T.ones(2, 2), T.zeros(3, 2)], layout=T.jagged))

    CASES[f"wrong_{_name}"] = lambda T, _fn=_wrong: _fn(T)
