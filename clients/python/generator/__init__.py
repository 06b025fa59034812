"""Writes the low-level client from the server's OpenAPI document; see ``generate.py``."""
