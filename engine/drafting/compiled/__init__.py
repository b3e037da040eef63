"""How number work is compiled by numba and called without overhead. Knows nothing of drafts beyond their arrays."""
