"""AWS at the other end of a wire, and the signature both ends check."""
