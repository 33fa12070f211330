"""Readers of single files, one module per format. `emotune.data.formats.file` chooses among them."""
