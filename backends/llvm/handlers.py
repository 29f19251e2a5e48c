"""numpy's memory handlers: the functions that make and free the data of arrays, set for a context.

Each array keeps the handler that made its data: `NEP 49 <https://numpy.org/neps/nep-0049.html>`_.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from flambeau.backends.llvm import cpython
from flambeau.backends.llvm.threads import forever

#: The numbers of numpy's functions, and of the object that is its own handler.
_SET, _GET, _OWN = 304, 305, 306
_CAPSULE: Final = b"mem_handler"


class _Structure(ctypes.Structure):
    """PyDataMem_Handler of version 1."""

    _fields_ = (
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p), ("calloc", ctypes.c_void_p), ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )  # fmt: skip


@cache
def _table() -> ctypes.Array[ctypes.c_size_t] | None:
    return cpython.numpy_functions(_OWN + 1)


def unavailable() -> str | None:
    """Why no handler can be set; None where one can."""
    if reason := cpython.unsuited():
        return reason
    if _table() is None:
        return "numpy has another interface"
    return None if _structure(own()).version == 1 else "numpy has handlers of another version"


def own() -> Any:
    """numpy's own handler."""
    return ctypes.py_object.from_address(_functions()[_OWN]).value


def current() -> Any:
    """The handler of this context."""
    return ctypes.PYFUNCTYPE(ctypes.py_object)(_functions()[_GET])()


def put(handler: Any) -> Any:
    """Set the handler of this context; what it was."""
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_functions()[_SET])(handler)


def functions(handler: Any) -> tuple[int, int, int, int, int]:
    """A handler's context, malloc, calloc, realloc and free, as addresses."""
    found = _structure(handler)
    return found.context or 0, found.malloc, found.calloc, found.realloc, found.free


def new(name: str, functions: Sequence[int]) -> Any:
    """A handler of functions without a context: malloc, calloc, realloc and free. It is there for good."""
    place = forever(ctypes.sizeof(_Structure) + len(_CAPSULE) + 1)
    made = _Structure.from_address(place)
    made.name, made.version = name.encode(), 1
    made.malloc, made.calloc, made.realloc, made.free = functions
    text = place + ctypes.sizeof(_Structure)
    ctypes.memmove(text, _CAPSULE, len(_CAPSULE) + 1)
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    capsule = make(cpython.function("PyCapsule_New"))(place, text, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(capsule))  # arrays are freed later than modules
    return capsule


def _functions() -> ctypes.Array[ctypes.c_size_t]:
    table = _table()
    assert table is not None, "numpy has another interface"
    return table


def _structure(handler: Any) -> _Structure:
    kind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    address = kind(cpython.function("PyCapsule_GetPointer"))(handler, _CAPSULE)
    return _Structure.from_address(address)
