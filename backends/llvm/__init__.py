"""Machine code for processors, written in Python: LLVM IR as text, compiled through llvmlite.

In the order in which a kernel goes through it: ``types``, ``module`` and ``ir`` build the text, ``target`` says for
which processor and how wide its registers are, ``compiler`` makes object code of it and loads that. ``jobs`` are
kernels in chunks; ``threads`` runs those, in generated code too, made of ``atomics`` and what ``systems`` offer.
``calls`` makes built-in functions for small arrays, whose fields and whose interpreter ``cpython`` describes.
llvmlite is imported by the first kernel that is compiled, not before.
"""
