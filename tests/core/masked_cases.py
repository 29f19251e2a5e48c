"""``masked``: functions of the elements that count, and masked tensors with their gradients and texts."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, collected, on_inputs

CASES: dict[str, Case] = {}
case = on_inputs(CASES)
ROWS = [[True, False, True, True], [False, False, False, False], [True, True, True, True]]


def masked(T: Any) -> Any:
    return __import__(f"{T.__name__}.masked", fromlist=["masked"])


def _rows(T: Any) -> Any:
    return T.tensor(ROWS)


for _name in ("sum", "prod", "amax", "amin", "mean", "var", "std", "logsumexp"):
    case(f"{_name}_rows", lambda T, n, _f=_name: getattr(masked(T), _f)(n.distinct(3, 4), 1, mask=_rows(T)[[0, 2, 0]]))
    case(
        f"{_name}_all", lambda T, n, _f=_name: getattr(masked(T), _f)(n.distinct(3, 4), keepdim=True, mask=_rows(T)[0])
    )
    case(f"{_name}_empty_rows", lambda T, n, _f=_name: getattr(masked(T), _f)(n.x(3, 4, grad=False), 1, mask=_rows(T)))
    case(f"{_name}_without_mask", lambda T, n, _f=_name: getattr(masked(T), _f)(n.distinct(3, 4), (0, 1)))
for _name in ("softmax", "log_softmax", "softmin", "cumsum", "cumprod"):
    case(f"{_name}_rows", lambda T, n, _f=_name: getattr(masked(T), _f)(n.x(3, 4), 1, mask=_rows(T)[[0, 2, 0]]).exp())
    case(f"{_name}_empty_rows", lambda T, n, _f=_name: getattr(masked(T), _f)(n.x(3, 4, grad=False), 1, mask=_rows(T)))
for _ord in (1.0, 2.0, 3.0, float("inf"), float("-inf")):
    case(f"norm_{_ord}", lambda T, n, _o=_ord: masked(T).norm(n.distinct(3, 4), _o, 1, mask=_rows(T)[[0, 2, 0]]))
case("norm_0", lambda T, n: masked(T).norm(n.ints(2, 3, 4).double(), 0.0, 1, mask=_rows(T)))
case("normalize", lambda T, n: masked(T).normalize(n.x(3, 4), 2.0, 1, mask=_rows(T)[[0, 2, 0]]))
case("median", lambda T, n: masked(T).median(n.distinct(3, 4), 1, mask=_rows(T)))
case(
    "logaddexp", lambda T, n: masked(T).logaddexp(n.x(3, 4), n.x(3, 4), input_mask=_rows(T), other_mask=~_rows(T)).exp()
)
case("var_corrections", lambda T, n: [masked(T).var(n.x(3, 4), 1, unbiased, mask=_rows(T)[0]) for unbiased in (0, 1)])
case("std_correction", lambda T, n: masked(T).std(n.x(3, 4), 1, correction=2, mask=_rows(T)[0]))


@collected(CASES)
def dtypes_of_results(T: Any) -> Any:
    found = []
    for dtype in (T.int32, T.uint8, T.int64, T.float16, T.bool):
        x = T.tensor([[1, 0, 3, 2], [4, 5, 6, 7], [1, 1, 0, 9]]).to(dtype)
        for name in ("sum", "prod", "amax", "amin", "argmax", "argmin", "mean", "var", "median", "cumsum", "softmax"):
            try:
                found.append(getattr(masked(T), name)(x, dim=1, mask=_rows(T)[[0, 2, 0]]))
            except (RuntimeError, ValueError, TypeError, NotImplementedError):
                found.append(f"{dtype} {name} raises".replace(T.__name__, ""))
    return found


@collected(CASES)
def dtypes_that_are_asked_for(T: Any) -> Any:
    x = T.tensor([[1, 2, 3, 4]])
    m = masked(T)
    return [
        getattr(m, name)(x, dim=1, mask=_rows(T)[:1], dtype=T.float64)
        for name in ("sum", "prod", "amax", "argmin", "mean", "std", "softmax", "cumprod", "median")
    ]


WRONG: dict[str, Any] = {
    "bool_extreme": lambda T, m, x: m.amax(x > 0, 1, mask=_rows(T)),
    "complex_extreme": lambda T, m, x: m.amin(x.to(T.complex64), 1, mask=_rows(T)),
    "integer_mean": lambda T, m, x: m.mean(x.long()),
    "integer_norm": lambda T, m, x: m.norm(x.long()),
    "wide_mask": lambda T, m, x: m.sum(x, mask=T.ones(2, 3, 4) > 0),
    "long_mask": lambda T, m, x: m.sum(x, mask=T.ones(5) > 0),
    "dim": lambda T, m, x: m.sum(x, 5),
    "dim_twice": lambda T, m, x: m.sum(x, (0, 0)),
    "both_corrections": lambda T, m, x: m.var(x, 1, True, correction=0),
    "integer_median_of_nothing": lambda T, m, x: m.median(x.long(), 1, mask=_rows(T)),
    "float_mask": lambda T, m, x: m.masked_tensor(x, x),
    "mask_of_another_shape": lambda T, m, x: m.masked_tensor(x, _rows(T)[0]),
    "list": lambda T, m, x: m.masked_tensor([1.0], [True]),
    "masked_data": lambda T, m, x: m.masked_tensor(m.masked_tensor(x, _rows(T)), _rows(T)),
    "unlike_masks": lambda T, m, x: m.masked_tensor(x, _rows(T)) + m.masked_tensor(x, ~_rows(T)),
    "integers_with_gradient": lambda T, m, x: m.masked_tensor(x.long(), _rows(T), requires_grad=True),
    "no_such_function": lambda T, m, x: T.sort(m.masked_tensor(x, _rows(T))),
    "product": lambda T, m, x: T.mm(m.masked_tensor(x, _rows(T)), x.T),
    "numpy": lambda T, m, x: m.masked_tensor(x, _rows(T)).numpy(),
    "tolist": lambda T, m, x: m.masked_tensor(x, _rows(T)).tolist(),
}
for _name, _fn in WRONG.items():
    CASES[f"wrong_{_name}"] = lambda T, _fn=_fn: _fn(T, masked(T), T.arange(12.0).reshape(3, 4))


def parts(value: Any) -> Any:
    """What of a masked tensor is to be compared: the elements that count, the mask, and its text."""
    if isinstance(value, (list, tuple)):
        return [parts(v) for v in value]
    if not hasattr(value, "get_mask"):
        return value
    return [value.to_tensor(0).detach(), value.get_mask(), repr(value)]


def _pair(T: Any) -> Any:
    x = T.arange(12.0).reshape(3, 4) * 0.5 - 2
    return masked(T).masked_tensor(x, _rows(T)), masked(T).masked_tensor(x + 3, _rows(T))


TENSORS: dict[str, Any] = {
    "texts": lambda T, a, b: [a, a > 0, a.long(), a[0], a[0, 0], a[0, 1], a.reshape(3, 2, 2), a * 1e9],
    "unary": lambda T, a, b: [-a, a.exp(), T.sqrt(b), abs(a), a.sigmoid(), a.isnan(), a.tanh(), T.round(a)],
    "binary": lambda T, a, b: [a + b, a - b, a * b, a / b, T.atan2(a, b), T.maximum(a, b), a // b, a == b, a < b],
    "with_numbers": lambda T, a, b: [a + 1, 1 + a, a - 2, a * 2, a**2, a.clamp(0, 1), a > 0],
    "with_tensors": lambda T, a, b: [a + a.get_data(), a.get_data() * b, T.ones(3, 4) - a],
    "in_place": lambda T, a, b: [a.clone().neg_(), a.clone().add_(b), a.clone().__imul__(2)],
    "reductions": lambda T, a, b: [
        f(*dim) for dim in ((), (1,), (0,)) for f in (a.sum, a.prod, a.mean, a.amax, a.amin, a.argmax, a.argmin, a.all)
    ],
    "variances": lambda T, a, b: [a.var(), a.var(1), T.var(a, 1), a.std(0), T.std(a, 1)],
    "kept_dimensions": lambda T, a, b: [a.sum(1, keepdim=True), T.amax(a, (0, 1)), a.mean(0, True)],
    "softmax": lambda T, a, b: [T.softmax(a, 1), a.softmax(-1), T.nn.functional.softmax(a, -1)],
    "views": lambda T, a, b: [
        a[0], a[:, 1:], a.select(0, 1), a.t(), a.transpose(0, 1), a.view(12), a.reshape(4, 3), a.unsqueeze(0),
        a.unsqueeze(0).expand(2, 3, 4), a.ravel(), a.flatten(), a.split(2), a.chunk(2),
    ],
    "joins": lambda T, a, b: [T.cat([a, b]), T.stack([a, b], 1), T.where(_rows(T), a, b)],
    "casts": lambda T, a, b: [a.double(), a.to(T.float64), a.half(), a.cpu(), a.detach(), T.ones_like(a)],
    "facts": lambda T, a, b: [
        list(a.shape), list(a.size()), a.dim(), len(a), str(a.dtype).split(".")[-1], a.requires_grad, a.get_data(),
        a.get_mask(), a.to_tensor(7.0), masked(T).is_masked_tensor(a), masked(T).is_masked_tensor(a.get_data()),
        a.is_sparse_coo(), a.is_sparse_csr(),
    ],
    "sums_by_function": lambda T, a, b: [masked(T).sum(a, 1), masked(T).amax(a, 1), masked(T).softmax(a, 1)],
}  # fmt: skip
for _name, _fn in TENSORS.items():
    CASES[f"tensor_{_name}"] = lambda T, _fn=_fn: parts(_fn(T, *_pair(T)))

GRADIENTS: dict[str, Any] = {
    "sum": lambda T, x: x.sum(),
    "square": lambda T, x: (x * x).sum(),
    "exp": lambda T, x: x.exp().mean(),
    "amax": lambda T, x: x.amax(),
    "prod": lambda T, x: x.prod(),
    "rows": lambda T, x: x.mean(1).sum(),
    "log": lambda T, x: (x + 3).log().sum(),
}
for _name, _fn in GRADIENTS.items():

    def _gradient(T: Any, fn: Any = _fn) -> Any:
        x = masked(T).masked_tensor(T.arange(12.0).reshape(3, 4) * 0.5 - 2, _rows(T), requires_grad=True)
        fn(T, x).backward()
        return parts(x.grad)

    CASES[f"gradient_{_name}"] = lambda T, _fn=_gradient: _fn(T)


@collected(CASES)
def copies_are_made(T: Any) -> Any:
    x, mask = T.ones(2), T.tensor([True, False])
    made = [f(x, mask) for f in (masked(T).masked_tensor, masked(T).as_masked_tensor, masked(T).MaskedTensor)]
    x.add_(1)
    mask.fill_(False)
    return [parts(m) for m in made]


@collected(CASES)
def history_is_kept(T: Any) -> Any:
    x = T.tensor([1.0, 2.0], requires_grad=True)
    a = masked(T).as_masked_tensor(x, T.tensor([True, False]))
    (a * 3).to_tensor(0.0).sum().backward()
    grad = x.grad.to_tensor(0) if hasattr(x.grad, "to_tensor") else x.grad
    return [a.requires_grad, a.is_leaf, grad]
