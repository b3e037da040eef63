"""Which environment variables the page's process keeps. Imports nothing that reads them.

Gradio and what it imports read variables that were set for other programs, many when they are imported: a proxy that
is not there, a certificate file that is gone or another program's port would keep the page from being built. A page
on this machine needs none of them. The engine's process keeps them all: downloads go through a proxy.
"""

import os

DROPPED = ("GRADIO_", "HF_", "HUGGING", "SPACE_")
ENDINGS = ("_PROXY",)  # all_proxy, HTTPS_PROXY, no_proxy ...
NAMES = {
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "WEB_CONCURRENCY",
    "FORWARDED_ALLOW_IPS",
}
FOR_GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # nothing leaves this machine
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9),  # events; else a table of all of them is made after each
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
}


def clean_environment() -> dict[str, str]:
    """Take out of this process's environment what is not for the page; returns all that was there before."""
    before = dict(os.environ)
    for name in before:
        upper = name.upper()
        if upper.startswith(DROPPED) or upper.endswith(ENDINGS) or upper in NAMES:
            del os.environ[name]
    os.environ.update(FOR_GRADIO)
    return before
