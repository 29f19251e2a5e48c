"""Fails as a binding does whose native library is not there."""

raise OSError("libcrash.so.3: cannot open shared object file")
