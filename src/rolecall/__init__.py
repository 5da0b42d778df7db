"""AWS credentials for every pod, on any Kubernetes."""

__version__ = "0.1.0"
