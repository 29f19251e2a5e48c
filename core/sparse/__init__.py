"""Sparse tensors: the places that hold something, and the values there, as ordinary tensors.

They stand above the dispatcher. :mod:`flambeau.core.sparse.tensor` has the class, which answers for itself by
``__torch_function__``; the modules beside it are what it answers with. Values are ordinary tensors that record how
they were computed, so gradients are those of the ops that compute with values, on every backend.

Importing the class makes functions ask for overriding classes, which costs them time; so it is imported at first need.
"""
