"""Admission: what a pod is given so that it can ask for its role."""
