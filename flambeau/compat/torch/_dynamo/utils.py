"""Whether torch.compile can compile for a device: for each, since it is kernels that are recorded."""

from flambeau.compat.unchanged import yes

__all__ = ["is_compile_supported"]

is_compile_supported = yes
