"""The error of a request that cannot be met; it needs no gradio."""


class Refused(ValueError):
    """What was asked for cannot be done; `str()` of it is one sentence with the next step."""
