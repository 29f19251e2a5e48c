"""Module classes that do what one function of nn.functional does, with its options kept."""

from __future__ import annotations

import inspect
from typing import Any

from flambeau.nn import functional as F
from flambeau.nn.examples import example
from flambeau.nn.module import Module


def module_of(
    name: str,
    function: str,
    doc: str,
    *,
    module: str,
    buffers: tuple[str, ...] = (),
    keyword_only: bool = False,
    **options: Any,
) -> Any:
    """A Module class whose forward calls ``nn.functional.<function>`` on its arguments with the constructor's options.

    ``options`` are the options' names and defaults (``...``: required); those in ``buffers`` are registered as
    buffers, so that they move with the module.
    """
    call = getattr(F, function)
    positional = inspect.Parameter.KEYWORD_ONLY if keyword_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature(
        [
            inspect.Parameter(n, positional, default=inspect.Parameter.empty if d is ... else d)
            for n, d in options.items()
        ]
    )

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}{signature}: {error}") from None
        bound.apply_defaults()
        for option, value in bound.arguments.items():
            if option in buffers:
                self.register_buffer(option, value)
            else:
                setattr(self, option, value)

    def forward(self: Any, *inputs: Any) -> Any:
        return call(*inputs, **{n: getattr(self, n) for n in options})

    def extra_repr(self: Any) -> str:
        shown = [(n, getattr(self, n)) for n in options if n not in buffers]
        return ", ".join(f"{n}={v!r}" for n, v in shown if n != "inplace" or v)

    forward.__doc__ = f"``nn.functional.{function}`` of the arguments."
    text = f"{doc}\n\nAs a function: :func:`flambeau.nn.functional.{function}`.{example(name)}"
    made = type(
        name,
        (Module,),
        dict(__init__=__init__, forward=forward, extra_repr=extra_repr, __doc__=text, __module__=module),
    )
    made.__signature__ = signature  # type: ignore[attr-defined]
    return made
