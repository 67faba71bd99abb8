"""What each processor has once in a process."""
