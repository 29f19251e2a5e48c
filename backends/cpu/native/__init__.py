"""Kernels of the CPU in machine code, by family: those of numpy, in the package above, stay below them."""
