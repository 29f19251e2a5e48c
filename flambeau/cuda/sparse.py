"""Names of sparse tensors on the devices of type cuda; there are none."""
