"""Run a study on a Ray cluster: driver, coordinator, trials and workers."""
