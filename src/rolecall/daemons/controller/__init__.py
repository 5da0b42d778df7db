"""The controller: AWSIAMRoles become Secrets with credentials, by one leader of several replicas."""
