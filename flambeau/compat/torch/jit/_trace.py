"""Where torch keeps tracing."""

from flambeau.compat.torch.jit import is_tracing, trace, trace_module

__all__ = ["is_tracing", "trace", "trace_module"]
