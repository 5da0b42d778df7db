"""A certificate that the webhook makes itself, shared by all replicas and believed by the API server."""
