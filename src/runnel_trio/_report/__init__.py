"""How things are said to people: log lines with facts, tracebacks, words, and what is hidden from them."""
