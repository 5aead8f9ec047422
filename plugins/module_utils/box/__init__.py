"""What a box is, what stands in the gateway's way there, and how Docker gets on it."""
