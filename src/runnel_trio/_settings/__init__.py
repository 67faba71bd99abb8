"""Values of settings: their kinds, the sources that they come from, and the URLs of servers."""
