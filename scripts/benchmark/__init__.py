"""Measures the gateway on a disposable box: runs of the playbooks, a switch of models, and the load it bears."""
