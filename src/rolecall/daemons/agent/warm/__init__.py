"""Warm restart: what an agent held is there for the next one, in memory of the same node."""
