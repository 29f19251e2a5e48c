"""Where and how a tensor lies in memory, and what other devices' programs ask."""

from __future__ import annotations

from flambeau.core.public import public
from flambeau.core.tensor import Tensor


@public(function=False)
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same memory, read the same way.

    >>> x = fb.arange(3)
    >>> x.is_set_to(x.view(3)), x.is_set_to(x[1:])
    (True, False)
    """
    return (
        self.data_ptr() == tensor.data_ptr()
        and self.dtype is tensor.dtype
        and tuple(self.shape) == tuple(tensor.shape)
        and self.stride() == tensor.stride()
    )


@public(function=False)
def const_data_ptr(self: Tensor) -> int:
    """:meth:`data_ptr`, for one who only reads.

    >>> x = fb.arange(3)
    >>> x.const_data_ptr() == x.data_ptr()
    True
    """
    return self.data_ptr()


@public(function=False)
def dim_order(self: Tensor, ambiguity_check: bool = False) -> tuple[int, ...]:
    """The dimensions as they lie in memory, from the one with the largest stride on.

    With ``ambiguity_check`` RuntimeError where another order would say the same: of equal strides, or for a size of 1.

    >>> fb.ones(2, 3).t().dim_order()
    (1, 0)
    """
    strides, sizes = self.stride(), self.shape
    if ambiguity_check and (len(set(strides)) < len(strides) or 1 in sizes):
        raise RuntimeError(
            f"dim_order: the tensor of shape {tuple(sizes)} and strides {tuple(strides)} has more than one order"
        )
    return tuple(sorted(range(self.ndim), key=lambda i: -strides[i]))


@public()
def is_distributed(input: Tensor) -> bool:
    """False: no tensor is spread over several processes.

    >>> fb.is_distributed(fb.ones(1))
    False
    """
    return False


@public(function=False)
def resize(self: Tensor, *sizes: int) -> Tensor:
    """Deprecated, as in torch: :meth:`reshape` to the sizes.

    >>> fb.arange(4).resize(2, 2).shape
    flambeau.Size([2, 2])
    """
    return self.reshape(*sizes)


@public(function=False)
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """Deprecated, as in torch: :meth:`reshape` to the shape of ``tensor``.

    >>> fb.arange(4).resize_as(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return self.reshape(tuple(tensor.shape))
