"""What computes: models, drafting, verifying, measuring. See ARCHITECTURE.md."""

import os

# Read by OpenMP when torch loads it, hence here, before any of us can import torch. Threads that wait for each other
# sleep at once, or, where the runtime is GNU's, after 2,000 turns: a pass hands out a hundred products, and being woken
# for each took up to a third of it (0.5 B parameters, two cores); but threads that spin on after they lost their
# core to another program stall a whole round: a 3 ms round took up to 60 ms.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="2000")
