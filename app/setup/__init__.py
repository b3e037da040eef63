"""Builds and checks the environment: imported before anything is installed, so the standard library only."""
