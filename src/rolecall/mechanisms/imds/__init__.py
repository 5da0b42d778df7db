"""EC2's instance metadata service as a protocol: what generations 0 and 1 have in common, and neither owns."""
