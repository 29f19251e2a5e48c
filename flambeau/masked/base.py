"""What functions over masked elements know of a masked tensor: that it has a mask."""

from __future__ import annotations

from flambeau.core.tensor import Tensor


class Masked(Tensor):
    """A tensor with a mask of its shape: True where an element counts."""

    _mask: Tensor

    def get_data(self) -> Tensor:
        """The elements as an ordinary tensor, masked-out ones too: a view, with the history.

        >>> fb.masked.masked_tensor(fb.ones(2), fb.tensor([True, False])).get_data()
        tensor([1., 1.])
        """
        return self.as_subclass(Tensor)  # type: ignore[no-any-return]

    def get_mask(self) -> Tensor:
        """The mask, a bool tensor.

        >>> fb.masked.masked_tensor(fb.ones(2), fb.tensor([True, False])).get_mask()
        tensor([ True, False])
        """
        return self._mask


def mask_and_data(name: str, input: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The elements, and the mask of those that count, of the input's shape: a masked tensor's own, and ``mask``.

    Errors: TypeError for an input or mask that is no tensor; IndexError for a mask of more dimensions than the input,
    RuntimeError for one that does not broadcast to it.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"masked.{name}: expects input to be a tensor, got {type(input).__name__}")
    if mask is not None:
        if not isinstance(mask, Tensor):
            raise TypeError(f"masked.{name}: expects mask to be a tensor or None, got {type(mask).__name__}")
        if mask.ndim > input.ndim:
            raise IndexError(f"masked.{name}: expects a mask that broadcasts to input, of at most {input.ndim} "
                             f"dimensions, got {mask.ndim}")  # fmt: skip
        mask = mask.bool().expand(tuple(input.shape))
    if not isinstance(input, Masked):
        return input, mask
    own = input._mask
    return input.get_data(), own if mask is None else own & mask
