"""Readers of single files, one module per format. `emotune.data.corpora.formats` chooses among them."""
