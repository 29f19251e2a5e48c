"""Helpers beside the framework itself: data loading, and files of tensors."""
