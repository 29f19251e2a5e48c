"""Where torch keeps its tracer."""

from flambeau.fx.tracer import PHWithMeta, Tracer, is_fx_tracing, symbolic_trace, wrap

__all__ = ["PHWithMeta", "Tracer", "is_fx_tracing", "symbolic_trace", "wrap"]

is_fx_symbolic_tracing = is_fx_tracing
