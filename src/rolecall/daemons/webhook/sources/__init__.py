"""Where the webhook knows from who has a role: stores that watches and files fill."""
