"""Models on disk: what a checkpoint is, one reader for each format, and what is refused. No torch, no network."""
