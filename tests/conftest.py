"""What holds for all tests."""

import torch

# The networks of the tests are so small that a second thread only waits for the first.
torch.set_num_threads(1)
