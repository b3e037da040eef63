"""Other drafters behind the same seam, for comparison: each as its paper or program has it."""
