"""Fast paths for records that allow them; each gives the exact result, or falls back to the hooks."""
