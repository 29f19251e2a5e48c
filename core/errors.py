"""The errors that core raises. Each is also the builtin error that PyTorch raises in its place."""

from __future__ import annotations

import sys
import warnings


class ShapeError(RuntimeError, ValueError):
    """Shapes that an op cannot take together."""


class ArgumentError(RuntimeError, ValueError):
    """A number or another setting that an op cannot take."""


class OptionError(AssertionError, ValueError):
    """An option that a constructor cannot take, where torch asserts it."""


class FormatError(RuntimeError, ValueError):
    """A memory format that a tensor cannot have."""


class DTypeError(RuntimeError, TypeError):
    """A dtype that an op does not take, or dtypes that do not promote."""


class UnsupportedDTypeError(DTypeError, NotImplementedError):
    """A dtype that an op does not compute in."""


class NarrowTypeError(DTypeError):
    """A dtype that promotes with no other."""


class NumberError(RuntimeError, OverflowError, ValueError):
    """A Python number that a dtype cannot hold."""


class DivisionByZeroError(RuntimeError, ZeroDivisionError):
    """A whole number is divided by zero."""


class DeviceError(RuntimeError):
    """Tensors of different devices in one op, or a device that is not there."""


class InvalidDeviceError(DeviceError, ValueError):
    """A text or number that names no device."""


class UnknownDeviceError(DeviceError, ValueError):
    """A device type under which no backend registered."""


class MissingKernelError(NotImplementedError, RuntimeError):
    """A backend has no kernel for an op, and neither a body nor the fallback policy stands in."""


class KernelError(RuntimeError):
    """A backend's kernel gave something else than the op's result."""


class GradientError(RuntimeError):
    """A gradient was asked for that the graph cannot give."""


class ModifiedError(GradientError):
    """A value saved for backward was changed in place before backward read it."""


class LevelError(RuntimeError):
    """A tensor of a finished transform was used, or a transform was used in a way that has no meaning."""


class ConversionError(TypeError, RuntimeError):
    """A tensor cannot become the Python or numpy object asked for."""


def is_of_the_call(error: Exception, name: str) -> bool:
    """Whether an error blames the call of ``name``, by its class or its text, and not what is inside."""
    return type(error).__module__ == __name__ or str(error).startswith(f"{name}: ")


def warn_user(text: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's program that led here, however deep in flambeau this is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "flambeau":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, kind, stacklevel=level)


_MAKERS = {"ndarray": "flambeau.from_numpy", "list": "flambeau.tensor", "tuple": "flambeau.tensor"}


def not_a_tensor(name: str, argument: str, got: object, wanted: str = "a tensor or a number") -> TypeError:
    """The error for an argument of another type; it says how to make a tensor of what came."""
    kind = type(got)
    foreign = kind.__name__ == "Tensor"  # another library's
    shown = f"a {kind.__module__}.Tensor" if foreign else kind.__name__
    maker = "flambeau.from_dlpack" if foreign else _MAKERS.get(kind.__name__)
    hint = f"; {maker}(x) makes a tensor of it" if maker else ""
    return TypeError(f"{name}: argument {argument!r} must be {wanted}, got {shown}{hint}")


def need_tensors(name: str, **arguments: object) -> None:
    """TypeError unless each argument is a tensor, where numbers would do as well."""
    for label, value in arguments.items():
        if not hasattr(value, "_key"):
            raise not_a_tensor(name, label, value, "a tensor")
