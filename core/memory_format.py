"""Names for memory layouts. Plain tensors are strided, new ones in row-major order; :mod:`flambeau.core.sparse` has
the others."""

from __future__ import annotations

from typing import Final

from flambeau.core.naming import prefix, shown


@shown("memory_format", own="")
class MemoryFormat:
    """An order of elements in memory: ``contiguous_format`` or ``preserve_format``."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"{prefix()}.{self.name}"

    def __reduce__(self) -> str:
        return self.name


def check_format(name: str, memory_format: object) -> None:
    """TypeError for a ``memory_format`` that is none."""
    if not isinstance(memory_format, MemoryFormat):
        kind = type(memory_format).__name__
        raise TypeError(f"{name}: argument 'memory_format' must be a memory format, got {memory_format!r} ({kind})")


@shown("layout", own="")
class Layout(MemoryFormat):
    """How elements are laid out: ``strided``, or one of the sparse layouts."""

    __slots__ = ()


contiguous_format: Final = MemoryFormat("contiguous_format")
preserve_format: Final = MemoryFormat("preserve_format")
strided: Final = Layout("strided")
sparse_coo: Final = Layout("sparse_coo")
sparse_csr: Final = Layout("sparse_csr")
sparse_csc: Final = Layout("sparse_csc")
sparse_bsr: Final = Layout("sparse_bsr")
sparse_bsc: Final = Layout("sparse_bsc")
