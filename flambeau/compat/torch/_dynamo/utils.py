"""Whether torch.compile can compile for a device: for none."""

from flambeau.compat.unchanged import no

__all__ = ["is_compile_supported"]

is_compile_supported = no
