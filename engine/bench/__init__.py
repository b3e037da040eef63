"""Benchmarks and proofs. Nothing outside imports this but `app.commands`."""
