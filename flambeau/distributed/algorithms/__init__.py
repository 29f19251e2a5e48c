"""What training over processes can do beside the mean of all gradients: join, communication hooks, averaged models."""
