"""The node agent: the Pod Identity door."""
