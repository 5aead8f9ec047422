"""The directory of one Compose project: what is declared, what is on disk, and the steps between them."""
