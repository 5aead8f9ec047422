"""What `make bench` copies to the box and runs there; each file needs Python alone."""
