"""MIOpen: it is not used. The switch is kept."""

__all__ = ["immediate"]

immediate = False
