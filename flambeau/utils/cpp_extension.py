"""Extensions in C++, of which there are none: kernels are written in Python, or in OpenCL's and CUDA's C by a backend.

The names are there, so that a ``setup.py`` or a module that would build one fails with a text that says so.
"""

from __future__ import annotations

import os
import shutil
from typing import Any, Final, NoReturn

__all__ = [
    "CUDA_HOME",
    "ROCM_HOME",
    "BuildExtension",
    "CUDAExtension",
    "CppExtension",
    "SyclExtension",
    "check_compiler_is_gcc",
    "check_compiler_ok_for_platform",
    "get_compiler_abi_compatibility_and_version",
    "get_cxx_compiler",
    "get_default_build_root",
    "include_paths",
    "is_ninja_available",
    "library_paths",
    "load",
    "load_inline",
    "remove_extension_h_precompiler_headers",
    "verify_ninja_availability",
]  # fmt: skip

CUDA_HOME: str | None = None
ROCM_HOME: str | None = None
_HELP: Final = (
    "flambeau has no C++ interface to compile against; register an op with flambeau.library, or a kernel with a "
    "backend plugin (docs/writing-a-backend.md)"
)


def _refuse(name: str) -> NoReturn:
    raise RuntimeError(f"{name}: {_HELP}")


def load(name: str, sources: Any, *args: object, **kwargs: object) -> NoReturn:
    """RuntimeError: no extension in C++ can be built."""
    _refuse(f"cpp_extension.load({name!r})")


def load_inline(name: str, cpp_sources: Any, *args: object, **kwargs: object) -> NoReturn:
    """RuntimeError: no extension in C++ can be built."""
    _refuse(f"cpp_extension.load_inline({name!r})")


def CppExtension(name: str, sources: Any, *args: object, **kwargs: object) -> NoReturn:
    """RuntimeError: no extension in C++ can be built."""
    _refuse(f"CppExtension({name!r})")


def CUDAExtension(name: str, sources: Any, *args: object, **kwargs: object) -> NoReturn:
    """RuntimeError: no extension in C++ can be built."""
    _refuse(f"CUDAExtension({name!r})")


def SyclExtension(name: str, sources: Any, *args: object, **kwargs: object) -> NoReturn:
    """RuntimeError: no extension in C++ can be built."""
    _refuse(f"SyclExtension({name!r})")


class BuildExtension:
    """The build step of a ``setup.py``; it can be named and configured, and refuses to build."""

    @classmethod
    def with_options(cls, **options: object) -> type[BuildExtension]:
        """The same with options."""
        return cls

    def __init__(self, *args: object, **kwargs: object):
        _refuse("BuildExtension")


def get_default_build_root() -> str:
    """Where extensions would be built."""
    return os.path.join(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"), "torch_extensions")


def get_cxx_compiler() -> str:
    """The compiler that the environment names, or the system's."""
    return os.environ.get("CXX", "c++")


def check_compiler_ok_for_platform(compiler: str) -> bool:
    """Whether there is such a compiler."""
    return shutil.which(compiler) is not None


def check_compiler_is_gcc(compiler: str) -> bool:
    """Whether a compiler is called as GCC is."""
    name = os.path.basename(shutil.which(compiler) or compiler)
    return name in ("g++", "gcc", "gnu-c++", "gnu-cc") or name.startswith(("g++-", "gcc-"))


def get_compiler_abi_compatibility_and_version(compiler: str) -> tuple[bool, str]:
    """Whether what a compiler makes would fit, and its version; without an interface nothing fits."""
    return False, "0.0.0"


def include_paths(device_type: str = "cpu", torch_include_dirs: bool = True) -> list[str]:
    """Folders of headers: none."""
    return []


def library_paths(
    device_type: str = "cpu", torch_include_dirs: bool = True, cross_target_platform: str | None = None
) -> list[str]:
    """Folders of libraries: none."""
    return []


def is_ninja_available() -> bool:
    """Whether the build tool ninja is there.

    >>> isinstance(fb.utils.cpp_extension.is_ninja_available(), bool)
    True
    """
    return shutil.which("ninja") is not None


def verify_ninja_availability() -> None:
    """RuntimeError if it is not."""
    if not is_ninja_available():
        raise RuntimeError("Ninja is required to load C++ extensions, and is not installed (and flambeau has none)")


def remove_extension_h_precompiler_headers() -> None:
    """There are none to remove."""
