"""What computes: models, drafting, verifying, measuring. See ARCHITECTURE.md."""

import os

# Read by OpenMP when torch loads it, hence here, before any of us can import torch. Spinning threads that lose their
# core to another program stall a whole round: with two busy programs on two cores, a 3 ms round took up to 60 ms.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
