"""PyTorch's files, read without a pickle machine: a small interpreter of the opcodes that knows tensors and plain data.

What is in a file decides nothing but values: names in it are looked up in one table (:mod:`.names`), and whatever is
not there is an error. Nothing is imported, called or executed by a name that stands in a file.
"""
