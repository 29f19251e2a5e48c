"""torch.compiler: its names are those of flambeau.compiler."""
