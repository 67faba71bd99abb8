"""What a worker serves by HTTP."""
