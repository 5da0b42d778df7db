"""Generation 3: a token at a link-local door, and an association that names the role."""
