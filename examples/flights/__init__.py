"""The histories of aircraft, kept in order; see README.md."""
