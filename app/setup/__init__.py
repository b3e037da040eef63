"""What the launcher needs before the environment stands: the standard library only."""
