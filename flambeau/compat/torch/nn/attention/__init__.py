"""Parts of torch.nn.attention that are torch's alone."""
