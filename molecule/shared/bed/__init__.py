"""The test bed: disposable systemd boxes on one Docker engine, and the images they run, built from packages alone."""
