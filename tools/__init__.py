"""Programs that make the documentation: generated pages, the notebook, the recording of the terminal, screenshots."""
