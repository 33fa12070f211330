"""The mirror of a search's journal in MLflow. The only package that imports mlflow."""

import os

# MLflow reads these while it is imported, so this cannot wait for a function call. What the user set stays.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# By default a call to a server that is away takes 250 s. The mirror retries by itself.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
# A server's address of every run that ends, on stdout, where answers of the program stand.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
