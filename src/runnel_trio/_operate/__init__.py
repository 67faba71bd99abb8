"""Inspecting and controlling an app from outside: by the command line, by `top`, by tests and by programs."""
