"""What benchmarks compare: drafters, other programs' ways to generate, controls."""
