"""Parts of torch.utils that are torch's alone."""
