"""Between kiam's agent and its server, when both are ours: kiam's own gRPC is not spoken."""
