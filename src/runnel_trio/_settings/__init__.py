"""How a value is given: kinds of values, the places that they come from, and the URLs of servers."""
