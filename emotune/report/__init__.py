"""Tables, pictures and the page about a search, from its journal alone."""
