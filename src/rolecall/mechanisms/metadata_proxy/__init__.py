"""Generation 1: a proxy in front of IMDS tells pods apart by source address."""
