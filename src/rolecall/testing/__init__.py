"""Shipped fakes, for tests, benchmarks and users."""
