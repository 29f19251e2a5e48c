"""Modules that do what one function of nn.functional does, with its options kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

from flambeau.core.tensor import Tensor
from flambeau.nn.spatial import Spatial


@dataclass_transform(eq_default=False)
class OfFunction(Spatial):
    """A module whose class body lists the options of its function, which its constructor takes in that order.

    An option that is a tensor is registered as a buffer, so that it moves with the module. Options of a base class come
    first. ``_shown`` names those that the printed form shows, if not all; as in torch, of losses it shows none.

    >>> class AtMost(OfTensor, function=fb.nn.functional.hardtanh):
    ...     min_val: float = 0.0
    ...     max_val: float = 1.0
    >>> AtMost(max_val=2.0)(fb.tensor([-1.0, 3.0]))
    tensor([0., 2.])
    """

    _fields: ClassVar[dict[str, inspect.Parameter]] = {}
    _options: ClassVar[tuple[str, ...]] = ()
    _shown: ClassVar[tuple[str, ...] | None] = None
    _tensors: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(
        cls, function: Callable[..., Any] | None = None, dims: int = 0, kw_only: bool = False
    ) -> None:
        super().__init_subclass__(dims, function)
        kind = inspect.Parameter.KEYWORD_ONLY if kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        own = {n: a for n, a in inspect.get_annotations(cls).items() if not str(a).startswith("ClassVar")}
        cls._fields = cls._fields | {
            n: inspect.Parameter(n, kind, default=cls.__dict__.get(n, inspect.Parameter.empty), annotation=a)
            for n, a in own.items()
        }
        cls._tensors |= {n for n, a in own.items() if str(a).startswith("Tensor")}
        for name in [n for n, a in own.items() if str(a).startswith(("Tensor", "Callable")) and n in cls.__dict__]:
            delattr(cls, name)  # or the default would hide the buffer, or the module
        listed = own and "__init__" not in cls.__dict__ and cls.__module__.startswith("flambeau.")
        if listed or function is not None:  # a user's class below one of ours has its own constructor, or inherits
            cls.__init__ = _constructor(cls)  # type: ignore[method-assign]
        if function is not None:
            cls._options, cls.__doc__ = tuple(cls._fields), _documented(cls, function)

    def _settle(self) -> None:
        """Check the options, or complete them."""

    def _apply_to(self, *inputs: Any) -> Tensor:
        return self.function(*inputs, **{n: getattr(self, n) for n in self._options})

    def extra_repr(self) -> str:
        names = self._options if self._shown is None else self._shown
        shown = [(n, getattr(self, n)) for n in names if n not in self._tensors]
        return ", ".join(f"{n}={v!r}" for n, v in shown if n != "inplace" or v or self._shown)


class OfTensor(OfFunction):
    """The function takes one tensor and gives one."""

    def forward(self, input: Tensor) -> Tensor:
        """The function of ``input``."""
        own = self.__dict__
        return self.function(input, **{n: own[n] for n in self._options})


def _documented(cls: type[OfFunction], function: Callable[..., Any]) -> str:
    """The docstring of the class, with the example of its function where it has none."""
    text, name = (cls.__doc__ or "").rstrip(), function.__name__
    if ">>>" not in text:
        example = (function.__doc__ or "").partition(">>> ")[2].rstrip()
        text += f"\n\n    >>> {example}".replace(f"functional.{name}(", f"{cls.__name__}()(")
    return f"{text}\n\n    As a function: :func:`flambeau.nn.functional.{name}`.\n"


def _constructor(cls: type[OfFunction]) -> Callable[..., None]:
    signature = inspect.Signature(list(cls._fields.values()), return_annotation="None")

    def __init__(self: OfFunction, *args: Any, **kwargs: Any) -> None:
        super(Spatial, self).__init__()  # past the constructors of options, to what else the class is made of
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}{_untyped(signature)}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if name in cls._tensors:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self._settle()

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    __init__.__signature__ = signature.replace(parameters=[me, *signature.parameters.values()])  # type: ignore[attr-defined]
    return __init__


def _untyped(signature: inspect.Signature) -> inspect.Signature:
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return inspect.Signature(bare)
