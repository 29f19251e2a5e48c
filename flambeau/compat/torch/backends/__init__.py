"""torch.backends: what of torch's own libraries is at work here. None is, and the switches are kept for who reads them."""

fp32_precision = "none"
