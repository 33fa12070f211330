"""From the files of a corpus to batches of segments."""
