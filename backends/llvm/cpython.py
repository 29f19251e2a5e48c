"""CPython and numpy as generated code sees them: functions of their C interfaces, and where an array has its fields.

The fields of an array object and the numbers of numpy's functions are its ABI, which extensions are compiled against;
both are looked at before they are used: https://numpy.org/doc/stable/reference/c-api/.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np

from flambeau.backends.llvm import compiler

#: Where an object has its class, and an array its fields, in bytes from its start.
TYPE: Final = 8
DATA, NDIM, SHAPE, STRIDES, DESCRIPTOR, FLAGS = 16, 24, 32, 40, 56, 64
#: Where a tuple has its length and its items.
LENGTH, ITEMS = 16, tuple.__basicsize__
#: The name of the keyword, the same object in all programs.
OUT: Final = sys.intern("out")
#: Bits of an array's flags; the last makes numpy warn when it writes to one, such as ``numpy.broadcast_arrays`` gives.
C_CONTIGUOUS, ALIGNED, WRITEABLE, WARN_ON_WRITE = 0x1, 0x100, 0x400, 1 << 31

_FUNCTIONS: Final = (
    "Py_IncRef", "PyObject_Vectorcall", "PyObject_CallOneArg", "PyEval_SaveThread", "PyEval_RestoreThread",
    "PyCFunction_NewEx", "PyCapsule_GetPointer", "PyCapsule_New", "PyLong_FromVoidPtr",
    "PyLong_AsLongLong", "PyFloat_AsDouble", "PyErr_Occurred", "Py_DecRef", "PyTuple_New",
)  # fmt: skip
#: The ABI of numpy 2, and the numbers of two of its functions.
_ABI: Final = 0x02000000
_ABI_VERSION, _NEW_FROM_DESCR = 0, 94
#: METH_FASTCALL | METH_KEYWORDS.
_CALLED: Final = 0x80 | 0x02


class _MethodDef(ctypes.Structure):
    """PyMethodDef, which a built-in points to for as long as it lives."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


_kept: list[object] = []  # what generated code points to, for the life of the process


def unavailable() -> str | None:
    """Why the CPU's kernels get no built-ins; None where they do.

    ConfigError where the setting ``cpu_code`` names a processor that this one is not.
    """
    return unsuited() or compiler.unavailable()


@cache
def unsuited() -> str | None:
    """Why built-ins cannot be made for this interpreter; None where they can."""
    if sys.implementation.name != "cpython":
        return f"the interpreter is {sys.implementation.name}, not CPython"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "the interpreter is a free-threaded one"
    if object.__basicsize__ != 16 or sys.byteorder != "little":
        return "the interpreter has objects of another layout"
    missing = [name for name in _FUNCTIONS if not hasattr(ctypes.pythonapi, name)]
    if missing:
        return f"the interpreter has no {missing[0]}"
    if not _fields_are_known():
        return f"numpy {np.__version__} has arrays of another layout"
    return None


def _fields_are_known() -> bool:
    """Whether an array has its fields where this module says."""
    if np.ndarray.__basicsize__ < FLAGS + 4:
        return False
    x = np.zeros((3, 5), np.float32)[:, 1:4]
    word, number = ctypes.c_int64.from_address, ctypes.c_int.from_address
    start = id(x)
    extents = ctypes.c_int64 * 2
    return (
        word(start + TYPE).value == id(np.ndarray)
        and word(start + DATA).value == x.__array_interface__["data"][0]
        and number(start + NDIM).value == 2
        and tuple(extents.from_address(word(start + SHAPE).value)) == x.shape
        and tuple(extents.from_address(word(start + STRIDES).value)) == x.strides
        and word(start + DESCRIPTOR).value == id(x.dtype)
        and number(start + FLAGS).value == x.flags.num
    )


def function(name: str) -> int:
    """The address of a function of CPython's C interface."""
    found = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    assert found is not None
    return found


@cache
def new_array() -> int | None:
    """The address of numpy's PyArray_NewFromDescr; None where numpy has an ABI that is not known."""
    table = numpy_functions(_NEW_FROM_DESCR + 1)
    return None if table is None else table[_NEW_FROM_DESCR]


def numpy_functions(count: int) -> ctypes.Array[ctypes.c_size_t] | None:
    """The addresses of the first functions of numpy's C interface; None where numpy has an ABI that is not known."""
    try:
        capsule = import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return None
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(function("PyCapsule_GetPointer"))
    table = (ctypes.c_size_t * count).from_address(pointer(capsule, None))
    version = ctypes.PYFUNCTYPE(ctypes.c_uint)(table[_ABI_VERSION])
    return table if version() == _ABI else None


@cache
def empty(dtype: np.dtype[Any]) -> int:
    """The address of a Python function that makes an array of a dtype in the shape of another."""

    def made(like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.empty(like.shape, dtype)

    _kept.append(made)
    return id(made)


def words(values: Sequence[int]) -> int:
    """The address of numbers of 64 bits, for the life of the process."""
    made = (ctypes.c_int64 * len(values))(*values)
    _kept.append(made)
    return ctypes.addressof(made)


def builtin(address: int, name: str, doc: str | None, fallback: Callable[..., Any]) -> Callable[..., Any]:
    """A built-in function of generated code, whose ``__self__`` is ``fallback``."""
    definition = _MethodDef(name.encode(), address, _CALLED, None if doc is None else doc.encode())
    _kept.append(definition)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    made: Callable[..., Any] = new(function("PyCFunction_NewEx"))(
        ctypes.addressof(definition), fallback, "flambeau.backends.llvm"
    )
    return made
