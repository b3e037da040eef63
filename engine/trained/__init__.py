"""Drafters that were trained for one model: packs on disk, and what they compute. No decoding, no text, no training."""
