"""XNNPACK, which flambeau does not use."""

enabled = False
