"""torch.ao: quantization and pruning during training, of which there is only what models name."""
