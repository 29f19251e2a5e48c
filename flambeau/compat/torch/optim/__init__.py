"""Steps of optimizers as functions, by module."""
