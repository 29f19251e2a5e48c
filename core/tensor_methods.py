"""Where type checkers find the generated methods of Tensor: the stub beside this file lists them."""

from __future__ import annotations


class TensorMethods:
    """The base of Tensor. :mod:`flambeau.core.methods` puts the methods themselves on Tensor."""

    __slots__ = ()
