"""The command line: flags as frozen values, and what each command does. No page."""
