"""Settings and fixtures of all tests."""

import importlib.util

from tests.support.properties import register_profiles
from tests.support.s3 import s3_bucket, s3_server, s3_url

__all__ = ["s3_bucket", "s3_server", "s3_url"]

register_profiles()

if importlib.util.find_spec("torch") is not None:  # the tests of `make test-core` run without it
    import torch

    # The networks of the tests are small: a second thread would only wait for the first.
    torch.set_num_threads(1)
