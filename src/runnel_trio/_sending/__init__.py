"""The way of a send: which partition, what is left of it, who watches, and how code outside Trio gets in."""
