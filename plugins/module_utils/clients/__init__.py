"""Clients of the gateway: their names, their keys in the vault, their entries in the catalog."""
