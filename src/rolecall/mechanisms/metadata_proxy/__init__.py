"""Generation 1: the metadata service, intercepted; the caller's address says who asks, an annotation which role."""
