"""torch.autograd.forward_ad: forward mode by tensors that carry their tangent, inside a ``dual_level``.

The transform :func:`flambeau.func.jvp` does the same for a function.
"""

from __future__ import annotations

from typing import NamedTuple

from flambeau.core.dtype import FLOATING
from flambeau.core.errors import GradientError, LevelError, ShapeError
from flambeau.core.state import current
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.forward import Dual, JvpLevel
from flambeau.core.transforms.levels import to_level

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """What :func:`unpack_dual` gives; ``tangent`` is None where none arrived."""

    primal: Tensor
    tangent: Tensor | None


class dual_level:
    """Inside, dual tensors carry their tangents through every op; afterwards they can no longer be used.

    >>> with dual_level():
    ...     x = make_dual(fb.tensor(3.0), fb.tensor(1.0))
    ...     unpack_dual(x * x)
    UnpackedDualTensor(primal=tensor(9.), tangent=tensor(6.))
    """

    def __init__(self) -> None:
        self._level: JvpLevel | None = None

    def __enter__(self) -> JvpLevel:
        if any(isinstance(v, _DualLevel) for v in current().levels):
            raise LevelError("dual_level: nested forward mode is not supported here; nest flambeau.func.jvp")
        self._level = _DualLevel()
        return self._level.__enter__()

    def __exit__(self, *exc: object) -> None:
        assert self._level is not None
        self._level.__exit__(*exc)
        self._level = None


class _DualLevel(JvpLevel):
    """The level of :class:`dual_level`: tensors made inside are ordinary ones, which lift when they meet a dual."""

    adopts = False


_entered: list[dual_level] = []


def enter_dual_level() -> JvpLevel:
    """Begin a :class:`dual_level`; :func:`exit_dual_level` ends it."""
    entered = dual_level()
    level = entered.__enter__()
    _entered.append(entered)
    return level


def exit_dual_level(*, level: JvpLevel | None = None) -> None:
    """End what :func:`enter_dual_level` began; RuntimeError where that is not ``level``."""
    if not _entered:
        raise LevelError("exit_dual_level: no level was entered")
    if level is not None and level is not _entered[-1]._level:
        raise LevelError("exit_dual_level: the level is not the one that was entered last")
    _entered.pop().__exit__()


def _level(level: JvpLevel | None) -> JvpLevel | None:
    if level is not None:
        return level
    return next((v for v in reversed(current().levels) if isinstance(v, _DualLevel)), None)


def make_dual(tensor: Tensor, tangent: Tensor, *, level: JvpLevel | None = None) -> Tensor:
    """``tensor`` with ``tangent``, of the same shape, as its derivative."""
    here = _level(level)
    if here is None:
        raise LevelError("make_dual: there is no level; use it inside `with dual_level():`")
    if tensor.dtype.category < FLOATING:
        raise GradientError(f"make_dual: expected a floating point or complex tensor, got {tensor.dtype}")
    if tensor.shape != tangent.shape:
        raise ShapeError(f"make_dual: the tensor has shape {tuple(tensor.shape)}, the tangent {tuple(tangent.shape)}")
    dual: Tensor = here.wrap(Dual(tensor, tangent), tensor)
    return dual


def unpack_dual(tensor: Tensor, *, level: JvpLevel | None = None) -> UnpackedDualTensor:
    """The value and the tangent of a tensor."""
    here = _level(level)
    if here is None or tensor._key.level is not here:
        if tensor._key.level is not None and not tensor._key.level.alive:
            to_level(tensor, here)  # which raises
        return UnpackedDualTensor(tensor, None)
    payload = tensor._array
    return UnpackedDualTensor(payload.primal, payload.direction())
