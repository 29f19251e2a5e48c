<<<<<<< HEAD
"""How many queries, and how many keys, a block of a mask has where nothing is said."""

__all__ = ["_DEFAULT_SPARSE_BLOCK_SIZE"]
=======
"""The size of a block in masks of blocks."""

__all__: list[str] = []
>>>>>>> next

_DEFAULT_SPARSE_BLOCK_SIZE = 128
