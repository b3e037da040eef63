"""The decode loop: draft, choose, verify, sample, commit. Loads no models and knows no drafter by name."""
