"""The forward pass on a processor: packed weights, and what lies between the products compiled by numba."""
