"""The Ray cluster: connection, nodes, capacity, GPU sharing, and access to shared folders."""
