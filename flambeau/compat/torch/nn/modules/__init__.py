"""torch.nn.modules: the files in which torch keeps its layers, with their private names."""
