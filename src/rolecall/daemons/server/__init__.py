"""The product's server: associations and EKS Auth."""
