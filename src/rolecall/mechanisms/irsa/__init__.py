"""Generation 2: a projected token, exchanged at STS under the role's trust policy."""
