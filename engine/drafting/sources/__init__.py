"""The sources of drafts, one file each, and their registry. How likely a proposal is right is calibration's to say."""

import engine.drafting.sources.registry  # noqa: F401  (first, so that layouts are the same in every process)
