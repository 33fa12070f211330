"""Tables, figures and the HTML page of a search, computed from its journal alone."""
