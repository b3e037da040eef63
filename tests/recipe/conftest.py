"""Let the recipe's tests import its files, which are scripts beside each other and no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "assets" / "smollm2" / "recipe"))
