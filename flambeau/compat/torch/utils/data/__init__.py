"""Parts of torch.utils.data that are torch's alone."""
