"""Where a program spends its time: ``python -m flambeau.utils.bottleneck script.py [arguments]``.

It runs the program twice, once under Python's profiler and once under :mod:`flambeau.profiler`, and prints both tables.
"""
