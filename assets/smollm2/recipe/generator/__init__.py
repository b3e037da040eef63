"""Inputs and their exact answers, before anybody has worded an order: words, texts, code, lists, records."""
