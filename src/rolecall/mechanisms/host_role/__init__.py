"""Generation 0: every pod gets the node's role."""
