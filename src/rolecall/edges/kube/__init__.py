"""The API server: who we are to it, calls, and watches that fill stores."""
