"""The gateway's own part of LiteLLM: clients, budgets, limits of providers, fallback rules and the log line.

LiteLLM loads `auth` and `hooks`; the other modules know nothing of it and are tested without it.
"""
