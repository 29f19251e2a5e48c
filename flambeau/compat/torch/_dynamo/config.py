"""Settings of torch's tracer that packages set; nothing reads them here."""

cache_size_limit = recompile_limit = 8
accumulated_cache_size_limit = accumulated_recompile_limit = 256
suppress_errors = False
capture_scalar_outputs = capture_dynamic_output_shape_ops = False
optimize_ddp = True
verbose = False
