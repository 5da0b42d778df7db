"""The embedded AWS identity plane: STS, IAM, EKS and EKS Auth on one port."""
