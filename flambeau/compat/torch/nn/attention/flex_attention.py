"""How many queries, and how many keys, a block of a mask has where nothing is said."""

__all__ = ["_DEFAULT_SPARSE_BLOCK_SIZE"]

_DEFAULT_SPARSE_BLOCK_SIZE = 128
