"""Where type checkers find the generated methods of Tensor: the stub beside this file lists them."""

from __future__ import annotations


class TensorMethods:
    """The base of Tensor. :mod:`flambeau.core.methods` puts the methods themselves on Tensor.

    The stub is generic over Tensor, so that it stands below the class that inherits from it.
    """

    __slots__ = ()

    def __class_getitem__(cls, tensor: str) -> type[TensorMethods]:
        return cls
