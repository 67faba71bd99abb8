"""Text for people: log lines with facts, tracebacks, wording, and redaction of secrets."""
