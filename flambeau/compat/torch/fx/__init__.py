"""Parts of torch.fx that are torch's alone."""
