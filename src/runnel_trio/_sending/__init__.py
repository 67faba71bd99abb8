"""Parts of a send: partition numbers, what is left to store, instrumentation, sends from outside Trio."""
