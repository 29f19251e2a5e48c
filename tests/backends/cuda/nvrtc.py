"""NVRTC through ctypes, from the wheel ``nvidia-cuda-nvrtc-cu12``: compiles CUDA C with no GPU and no header."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any


@cache
def library() -> Any:
    """The loaded library, or None where the wheel is not installed."""
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc") if importlib.util.find_spec("nvidia") else None
    folders = [Path(p) for p in spec.submodule_search_locations or ()] if spec else []
    files = [f for folder in folders for f in sorted((folder / "lib").glob("libnvrtc.so*"))]
    return ctypes.CDLL(str(files[0])) if files else None


@cache
def _hasty() -> tuple[str, ...]:
    """Options that leave out optimisations, which is half of the time: what is held is that programs compile."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return ("--Ofast-compile=max",) if (major.value, minor.value) >= (12, 9) else ()


def compile_ptx(text: str, architecture: str, options: tuple[str, ...]) -> str:
    """The PTX of a program; RuntimeError with NVRTC's log when it does not compile."""
    rtc, program = library(), ctypes.c_void_p()
    _check(rtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None))
    flags = [o.encode() for o in (f"--gpu-architecture=compute_{architecture}", *_hasty(), *options)]
    status = rtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    try:
        if status:
            raise RuntimeError(_text(rtc.nvrtcGetProgramLogSize, rtc.nvrtcGetProgramLog, program))
        return _text(rtc.nvrtcGetPTXSize, rtc.nvrtcGetPTX, program)
    finally:
        rtc.nvrtcDestroyProgram(ctypes.byref(program))


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC error {status}")


def _text(size_of: Any, read: Any, program: Any) -> str:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(read(program, buffer))
    return buffer.value.decode()
