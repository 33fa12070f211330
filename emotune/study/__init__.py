"""Studies, their journals and their results. Imports no Ray."""
