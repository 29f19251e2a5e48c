"""Parameters averaged over processes now and then, in place of their gradients in each step."""
