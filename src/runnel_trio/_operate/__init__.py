"""What is looked at, and done, from outside: by the command line, by `top`, by tests and by programs."""
