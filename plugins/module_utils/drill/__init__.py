"""The drill: what clients see while parts of the gateway fail, and whether it stays within the limits."""
