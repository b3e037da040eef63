"""Benchmark data as text and pictures; measures nothing."""
