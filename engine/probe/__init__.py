"""What is found out about a loaded model: which widths are exact and what they cost. Decodes nothing."""
