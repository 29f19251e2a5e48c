"""Parts of torch.autograd that are torch's alone."""
