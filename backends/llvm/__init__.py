"""Machine code for processors, written in Python: LLVM IR as text, compiled through llvmlite.

In the order in which a kernel goes through it: ``types``, ``module`` and ``ir`` build the text, ``target`` says for
which processor and how wide its registers are, ``compiler`` makes object code of it and loads that. llvmlite is
imported by the first kernel that is compiled, not before.
"""
