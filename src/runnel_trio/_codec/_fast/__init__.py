"""Faster ways for records that allow them; each is exact, or hands over to the hooks."""
