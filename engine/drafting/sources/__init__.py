"""The sources of drafts, one file each. How likely a proposal is right is calibration's to say."""
