"""An example of a package that adds a corpus, an encoder, a task and a searcher to emotune."""
