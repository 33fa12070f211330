"""What holds for all tests."""

import torch

from tests.support.s3 import s3_bucket, s3_server, s3_url

__all__ = ["s3_bucket", "s3_server", "s3_url"]

# The networks of the tests are so small that a second thread only waits for the first.
torch.set_num_threads(1)
