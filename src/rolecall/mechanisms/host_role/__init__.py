"""Generation 0: the node's own role, for every pod on it; only where the operator asks for it by name."""
