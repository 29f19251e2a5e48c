"""Options of optimizers: each stands once, in the signature of ``__init__``, and its type says what it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, get_type_hints

from flambeau.core.tensor import Tensor

#: What an optimizer changes, all of one kind: tensors, (name, tensor) pairs, or groups with options of their own.
Params = Iterable[Tensor | tuple[str, Tensor] | dict[str, Any]]


class Check(NamedTuple):
    """What an option must be, in words and as a test; ``parts`` names the members of a pair, tested one by one."""

    words: str
    holds: Callable[[float], bool]
    parts: tuple[str, ...] = ()


_AT_LEAST_0 = Check("at least 0", lambda v: v >= 0)
Rate = Annotated[float | Tensor, _AT_LEAST_0]
AtLeast0 = Annotated[float, _AT_LEAST_0]
Share = Annotated[float, _AT_LEAST_0, Check("between 0 and 1", lambda v: v <= 1)]
Betas = Annotated[tuple[float, float], Check("in [0, 1)", lambda v: 0 <= v < 1, ("beta1", "beta2"))]


def number(value: float | Tensor) -> float:
    """An option as a Python number: learning rates may be tensors."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"a Tensor lr must be 1-element, got shape {tuple(value.shape)}")
        return float(value.item())
    return value


def options(arguments: dict[str, Any]) -> dict[str, Any]:
    """The defaults of an optimizer: the ``locals()`` of its ``__init__``, checked as the annotations there say.

    >>> class Plain(fb.optim.Optimizer):
    ...     def __init__(self, params: Params, lr: Rate = 0.1, *, maximize: bool = False):
    ...         super().__init__(params, options(locals()))
    >>> Plain([fb.ones(1)]).defaults
    {'lr': 0.1, 'maximize': False}
    >>> Plain([fb.ones(1)], lr=-1)
    Traceback (most recent call last):
    ValueError: Plain: invalid lr: -1; it must be at least 0
    """
    found = {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}
    try:
        check(arguments["__class__"], found)  # the class that calls super()
    except ValueError as error:
        raise ValueError(f"{type(arguments['self']).__name__}: {error}") from None
    return found


def check(cls: type, found: dict[str, Any]) -> None:
    """ValueError for an option that is not as the annotations in ``cls.__init__`` say."""
    for option, rule in _checks(cls):
        if option not in found:
            continue
        value = found[option]
        for name, v in zip(rule.parts, value, strict=True) if rule.parts else [(option, value)]:
            if not rule.holds(number(v)):
                raise ValueError(f"invalid {name}: {v}; it must be {rule.words}")


@lru_cache(64)
def _checks(cls: type) -> list[tuple[str, Check]]:
    """Options with what their annotations in ``__init__`` say of them."""
    types = get_type_hints(vars(cls)["__init__"], include_extras=True)
    return [(option, check) for option, type_ in types.items() for check in getattr(type_, "__metadata__", ())]
