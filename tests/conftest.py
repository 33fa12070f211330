"""Settings and fixtures of all tests."""

import importlib.util
import os
import signal

from threadpoolctl import threadpool_limits

from tests.support.properties import register_profiles
from tests.support.s3 import s3_bucket, s3_server, s3_url
from tests.support.stores import small_store

__all__ = ["s3_bucket", "s3_server", "s3_url", "small_store"]

register_profiles()

# The networks and matrices of the tests are small: a second thread would only wait for the first. Beside other
# processes it makes a product of matrices cost ten times as much. The variable is for the programs that tests start.
threadpool_limits(1)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
if importlib.util.find_spec("torch") is not None:  # the tests of `make test-core` run without it
    import torch

    torch.set_num_threads(1)

# Programs that tests start inherit the handling of SIGINT, which a shell without job control ignores in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
