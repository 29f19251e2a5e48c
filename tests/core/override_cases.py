"""``__torch_function__``: which functions subclasses, foreign objects and modes see, and what becomes of results."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}


def counting(T: Any) -> Any:
    """A subclass that notes the names of the functions it sees."""

    class Counting(T.Tensor):  # type: ignore[misc]
        seen: list[Any] = []  # noqa: RUF012

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.seen.append((func.__name__, len(args), [t.__name__ for t in types]))
            return super().__torch_function__(func, types, args, kwargs or {})

    return Counting


#: Calls of which the class hears under one name, with the same arguments, in both.
CALLS: dict[str, Any] = {
    "operators": lambda T, x: [x + 1, 1 + x, x - 1, 1 - x, x * 2, 2 * x, x / 2, -x, abs(x), x < 1, x != 1, x % 2, 2**x],
    "reductions": lambda T, x: [x.sum(), x.sum(0), T.mean(x), x.max(), x.norm(), T.std(x)],
    "joins": lambda T, x: [T.stack([x, x]), T.cat((x, T.ones(1))), T.where(x > 1, x, x)],
    "views": lambda T, x: [
        x[0],
        x[1:],
        x.view(2, 1),
        T.reshape(x, (2, 1)),
        x.unbind(),
        x.T,
        x.unsqueeze(0),
        x.expand(2, 2),
    ],
    "facts": lambda T, x: [
        x.shape,
        x.ndim,
        x.dim(),
        x.size(0),
        x.numel(),
        x.requires_grad,
        x.is_leaf,
        len(x),
        x.tolist(),
    ],
    "casts": lambda T, x: [x.double(), x.to("cpu"), x.detach(), x.clone(), x.contiguous()],
    "makers": lambda T, x: [T.ones_like(x), T.full_like(x, 2.0), x.new_zeros(2), T.tensor(x)],
    "others": lambda T, x: [T.ones(2) + x, T.ones(2).add(x), T.add(1, x), T.equal(x, x), T.allclose(x, x)],
    "writes": lambda T, x: [x.add_(1), x.mul_(2), x.zero_(), x.__setitem__(0, 3.0)],
    "products": lambda T, x: [x @ x, T.matmul(x, x), x.dot(x), T.einsum("i,i->", x, x)],
    "layers": lambda T, x: [
        T.nn.functional.linear(x, T.ones(2, 2)),
        T.nn.functional.conv1d(x.view(1, 1, 2), x.view(1, 1, 2)),
    ],
}
for _name, _calls in CALLS.items():

    def _case(T: Any, calls: Any = _calls) -> Any:
        kind = counting(T)
        found = calls(T, T.tensor([1.0, 2.0]).as_subclass(kind))
        return [kind.seen, [type(v).__name__ for v in found]]

    CASES[f"sees_{_name}"] = lambda T, _case=_case: _case(T)


@collected(CASES)
def a_subclass_is_kept(T: Any) -> Any:
    class Mine(T.Tensor):  # type: ignore[misc]
        pass

    x = Mine([1.0, 2.0])
    y = T.ones(2, 2).as_subclass(Mine)
    parts = [x + 1, x[0], x.view(2, 1), x.add_(1), x.split(1)[0], y.max(0).values, y.max(0), T.stack([x, x]), x > 1,
             x.long(), x.T, T.ones(2) * x, copy.copy(x), x.grad, x.shape, x.numpy(),
             T.nn.functional.relu(x)]  # fmt: skip
    return [type(v).__name__ for v in parts if type(v).__name__ != "ValuesIndices"]


@collected(CASES)
def the_more_special_class_answers(T: Any) -> Any:
    class A(T.Tensor):  # type: ignore[misc]
        pass

    class B(A):
        pass

    class C(T.Tensor):  # type: ignore[misc]
        pass

    a, b, c = (T.ones(1).as_subclass(k) for k in (A, B, C))
    try:
        found = type(a + c).__name__
    except TypeError:
        found = "TypeError"
    return [type(a + b).__name__, type(b + a).__name__, type(T.stack([a, b])).__name__, found]


@collected(CASES)
def parameters_and_buffers_override_nothing(T: Any) -> Any:
    p = T.nn.Parameter(T.ones(2))
    return [type(p + 1).__name__, type(p[0]).__name__, type(p.detach()).__name__, T.overrides.has_torch_function((p,))]


@collected(CASES)
def units_go_along(T: Any) -> Any:
    class Metres(T.Tensor):  # type: ignore[misc]
        @staticmethod
        def __new__(cls: Any, data: Any, unit: str = "m") -> Any:
            return super().__new__(cls, data)

        def __init__(self, data: Any, unit: str = "m"):
            self.unit = unit

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            units = {a.unit for a in args if isinstance(a, cls) and hasattr(a, "unit")}
            if func in (T.Tensor.add, T.add) and len(units) > 1:
                raise ValueError("units differ")
            found = super().__torch_function__(func, types, args, kwargs or {})
            if isinstance(found, cls):
                found.unit = units.pop() if units else "m"
            return found

    a, b = Metres([1.0, 2.0], "m"), Metres([3.0, 4.0], "km")
    try:
        mixed = a + b
    except ValueError as error:
        mixed = str(error)
    return [a.unit, (a + a).unit, b.sum().unit, (2 * b).unit, b[0].unit, mixed, (a + a).as_subclass(T.Tensor)]


@collected(CASES)
def foreign_objects_answer(T: Any) -> Any:
    seen = []

    class Scaled:
        def __init__(self, n: int, value: float):
            self.n, self.value = n, value

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.__name__)
            if func is T.mean:
                return args[0].value / args[0].n
            if func in (T.add, T.Tensor.add, T.mul, T.Tensor.mul, T.stack):
                return "answered"
            return NotImplemented

    d, x = Scaled(5, 2.0), T.ones(2)
    found = [T.mean(d), T.add(d, 1), x.add(d), x + d, x * d, T.add(x, d), T.stack([x, d])]
    try:
        T.sin(d)
    except TypeError:
        found.append("TypeError")
    return [found, seen]


@collected(CASES)
def modes_nest(T: Any) -> Any:
    told = []

    class Mode(T.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __init__(self, name: str):
            super().__init__()
            self.name = name

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            told.append((self.name, func.__name__))
            return func(*args, **(kwargs or {}))

    x = T.tensor([1.0, 2.0])
    with Mode("outer"):
        T.ones(2)
        with Mode("inner"):
            x + 1
            T.stack([x, x])
            x.view(2, 1)
            x.shape  # noqa: B018
            T.nn.functional.linear(x, T.ones(2, 2))
        x.sum()
    x + 1
    return told


@collected(CASES)
def a_mode_can_answer(T: Any) -> Any:
    class Zeros(T.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return T.zeros(1) if func is T.ones else func(*args, **(kwargs or {}))

    with Zeros():
        found = [T.ones(2), T.full((1,), 3.0)]
    return [*found, T.ones(1)]


@collected(CASES)
def a_mode_goes_before_classes(T: Any) -> Any:
    told = []
    kind = counting(T)

    class Mode(T.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            told.append((func.__name__, [t.__name__ for t in types]))
            return func(*args, **(kwargs or {}))

    x = T.ones(1).as_subclass(kind)
    with Mode():
        found = x * 2
    return [told, kind.seen, type(found).__name__]


@collected(CASES)
def an_error_ends_a_mode(T: Any) -> Any:
    class Mode(T.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise KeyError(func.__name__)

    caught = []
    for call in (lambda: T.ones(1) + 1, lambda: T.zeros(2)):
        try:
            with Mode():
                call()
        except KeyError as error:
            caught.append(str(error))
    return [caught, T.ones(1) + 1]


@collected(CASES)
def functions_of_ones_own(T: Any) -> Any:
    O = T.overrides  # noqa: E741

    class Asked:
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return [func.__name__, len(types), len(args), sorted(kwargs or {})]

    def mine(a: Any, b: Any = 0) -> Any:
        if O.has_torch_function((a,)):
            return O.handle_torch_function(mine, (a,), a, b=b)
        return "mine"

    @O.wrap_torch_function(lambda a: (a,))  # type: ignore[untyped-decorator]
    def wrapped(a: Any) -> Any:
        return "wrapped"

    return [mine(1), mine(Asked()), wrapped(1), wrapped(Asked()), O.has_torch_function_unary(Asked()),
            O.has_torch_function_variadic(1, Asked()), O.has_torch_function((1, T.ones(1))), O.is_tensor_like(Asked()),
            O.is_tensor_like(1), O.is_tensor_like(T.ones(1))]  # fmt: skip


@collected(CASES)
def what_is_asked(T: Any) -> Any:
    O = T.overrides  # noqa: E741
    tested, ignored = O.get_testing_overrides(), O.get_ignored_functions()
    names = [f for functions in O.get_overridable_functions().values() for f in functions]
    return [T.add in tested, T.add in names, T.nn.functional.linear in names, T.zeros in ignored, T.zeros in tested,
            tested[T.add](1, 2), O.is_tensor_method_or_property(T.Tensor.add), O.is_tensor_method_or_property(T.stack),
            O.is_tensor_method_or_property(T.Tensor.shape.__get__), O.resolve_name(T.stack).rpartition(".")[2],
            O.resolve_name(T.Tensor.shape.__get__).partition(".")[2], O.resolve_name(lambda: 0)]  # fmt: skip


@collected(CASES)
def one_level_is_skipped(T: Any) -> Any:
    kind = counting(T)

    def sub(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func.__name__)
        return T.overrides.redispatch_function(func, types, args, kwargs)

    kind.__torch_function__ = classmethod(sub)
    x = T.ones(2).as_subclass(kind)
    found = x * 2
    return [kind.seen, type(found).__name__, found.as_subclass(T.Tensor)]


@collected(CASES)
def gradients_of_a_subclass(T: Any) -> Any:
    class Mine(T.Tensor):  # type: ignore[misc]
        pass

    w = T.ones(2, requires_grad=True)
    x = w.as_subclass(Mine)
    (x * 3).sum().backward()
    leaf = T.ones(2).as_subclass(Mine).requires_grad_()
    (leaf**2).sum().backward()
    return [w.grad, leaf.grad, type(leaf.grad).__name__, leaf.is_leaf, x.is_leaf, type(leaf).__name__]


@collected(CASES)
def a_parameter_of_a_class(T: Any) -> Any:
    class Mine(T.Tensor):  # type: ignore[misc]
        pass

    layer = T.nn.Linear(2, 1, bias=False)
    layer.weight = T.nn.Parameter(T.ones(1, 2).as_subclass(Mine))
    found = layer(T.ones(2))
    names = [n for n, _ in layer.named_parameters()]
    return [type(layer.weight).__name__, isinstance(layer.weight, T.nn.Parameter), names,
            type(found).__name__, found.as_subclass(T.Tensor), repr(layer.weight)]  # fmt: skip


@collected(CASES)
def made_from_data(T: Any) -> Any:
    class Mine(T.Tensor):  # type: ignore[misc]
        pass

    x = T.ones(2)
    made = T.Tensor._make_subclass(Mine, x, True)
    made.detach().add_(1)
    return [type(made).__name__, made.requires_grad, x, Mine(2, 3).shape == (2, 3),
            repr(Mine([1.0])), type(T.Tensor.__new__(Mine, [1.0])).__name__]  # fmt: skip


class Pickled:
    """A place for a class that pickles find."""


@collected(CASES)
def copies_keep_class_and_attributes(T: Any) -> Any:
    kind = type("Kept", (T.Tensor,), {"__module__": __name__, "__qualname__": "Pickled.Kept"})
    Pickled.Kept = kind  # type: ignore[attr-defined]
    x = T.ones(2).as_subclass(kind)
    x.note = [1]
    found = [copy.copy(x), pickle.loads(pickle.dumps(x))]
    return [[type(v).__name__, v.note, v.as_subclass(T.Tensor)] for v in found]
