"""What is installed, reachable or mis-set on a host, each thing in a line with its cure."""
