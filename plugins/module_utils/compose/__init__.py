"""Compose projects: one structure, hardened the same way everywhere."""
