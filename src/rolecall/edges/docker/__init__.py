"""A Docker engine, by its API at a Unix socket: which container has an address."""
