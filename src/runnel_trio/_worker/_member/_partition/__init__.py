"""What each owned partition has."""
