"""Parts of torch.nn that are torch's alone."""
