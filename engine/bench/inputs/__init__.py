"""What benchmarks read: prompts, recorded conversations, cost curves."""
