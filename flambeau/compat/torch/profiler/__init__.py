"""Parts of torch.profiler that are torch's alone."""
