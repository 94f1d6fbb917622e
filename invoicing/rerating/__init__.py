"""Issued lines that are counted and rated again at night, and what came out otherwise."""
