"""Service-account tokens: split, read, choose the key, verify in numbered steps."""
