"""Functions and modules that are recorded once and replayed without their Python, under the names of torch.compiler.

>>> @fb.compile
... def step(x):
...     return (x * x).sum()
>>> [step(fb.full((2,), float(i))).item() for i in range(5)]
[0.0, 2.0, 8.0, 18.0, 32.0]
>>> step.explain().replayed
2
"""

from __future__ import annotations

from flambeau.compiler import config
from flambeau.compiler.compiling import OptimizedModule, compile, disable
from flambeau.compiler.hints import (
    allow_in_graph,
    assume_constant_result,
    cudagraph_mark_step_begin,
    keep_portable_guards_unsafe,
    keep_tensor_guards_unsafe,
    load_cache_artifacts,
    load_compiled_function,
    mark_dynamic,
    mark_static,
    maybe_mark_dynamic,
    nested_compile_region,
    save_cache_artifacts,
    set_enable_guard_collectives,
    skip_all_guards_unsafe,
    skip_guard_on_all_nn_modules_unsafe,
    skip_guard_on_globals_unsafe,
    skip_guard_on_inbuilt_nn_modules_unsafe,
    substitute_in_graph,
    wrap_numpy,
)
from flambeau.compiler.switches import (
    get_default_backend,
    is_compiling,
    is_dynamo_compiling,
    is_exporting,
    list_backends,
    reset,
    set_default_backend,
    set_stance,
)
from flambeau.core.capture.recorder import CaptureError

__all__ = [
    "CaptureError", "OptimizedModule", "allow_in_graph", "assume_constant_result", "compile", "config",
    "cudagraph_mark_step_begin", "disable", "get_default_backend", "is_compiling", "is_dynamo_compiling",
    "is_exporting", "keep_portable_guards_unsafe", "keep_tensor_guards_unsafe", "list_backends",
    "load_cache_artifacts", "load_compiled_function", "mark_dynamic", "mark_static", "maybe_mark_dynamic",
    "nested_compile_region", "reset", "save_cache_artifacts",
    "set_default_backend", "set_enable_guard_collectives", "set_stance", "skip_all_guards_unsafe",
    "skip_guard_on_all_nn_modules_unsafe", "skip_guard_on_globals_unsafe", "skip_guard_on_inbuilt_nn_modules_unsafe",
    "substitute_in_graph", "wrap_numpy",
]  # fmt: skip
