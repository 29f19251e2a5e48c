"""Parts of torch.cuda that are torch's alone."""
