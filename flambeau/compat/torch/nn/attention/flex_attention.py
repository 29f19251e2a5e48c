"""The size of a block in masks of blocks."""

__all__: list[str] = []

_DEFAULT_SPARSE_BLOCK_SIZE = 128
