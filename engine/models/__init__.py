"""Names to loaded models: catalogue, download, hardware, weights. Decodes nothing."""
