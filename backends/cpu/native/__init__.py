"""Kernels of the CPU as machine code, by family; what they do not serve goes to the numpy kernel of the same name."""
