"""EC2's metadata service, as it is on the plane's one node: what the instance is, and credentials of its role."""
