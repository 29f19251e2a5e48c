"""Tools for the devices of type mps."""
