"""Parts of torch.cpu that are torch's alone."""
