"""Servers that answer in place of the engine, over HTTP: addresses, probing, streams, figures. No model or page."""
