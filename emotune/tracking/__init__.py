"""The mirror of a search's journal in MLflow; the only package that imports mlflow."""

import os

# MLflow reads these variables on import, so they are set here. Values of the user are kept.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# By default a call to an unreachable server takes 250 s. The mirror has its own retries.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
# Otherwise MLflow prints the address of every finished run to stdout, into the output of the program.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
