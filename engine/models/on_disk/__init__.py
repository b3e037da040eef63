"""What other programs keep on this disk: models found in their folders, read only, and nowhere else. No torch."""
