"""The webhook's certificate: out of files, or made here and shared by all replicas."""
