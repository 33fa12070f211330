"""Write requirements.lock, packaging/torch.lock and packaging/image.lock from what uv resolved.

split_lock.py ALL IMAGE: two lists of requirements with hashes, of everything and of the image alone.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEADER = """\
# Exact versions and SHA-256 of all dependencies but torch, for Python 3.11 to 3.14, as on PyPI.
# torch is in packaging/torch.lock; netifaces is missing on purpose: see packaging/netifaces.
# Written by packaging/renew_lock.sh.
"""
IMAGE_HEADER = """\
# The part of requirements.lock that the image of docker/ installs. Written by packaging/renew_lock.sh.
"""
TORCH_HEADER = """\
# The version of torch. It has no hash: this is the CPU build where an index offers one, else PyPI's build with CUDA,
# which brings its own exact versions of the CUDA libraries. The two have different files under one version.
"""
ELSEWHERE = re.compile(r"(torch|netifaces|triton|cuda-\w+|nvidia-[\w-]+)==")
"""torch, what only its CUDA build requires, and netifaces, which packaging/netifaces replaces."""


def blocks(file: str) -> list[str]:
    """Return the requirements of a list, each with its hashes."""
    return re.split(r"\n(?=\w)", Path(file).read_text().strip())


def lock(requirements: list[str]) -> str:
    """Return the lines of a lock file."""
    return "".join(f"{block}\n" for block in requirements if not ELSEWHERE.match(block))


def main() -> None:
    """Write the files."""
    everything, image = (blocks(file) for file in sys.argv[1:])
    torch = "".join(f"{block.split()[0]}\n" for block in everything if block.startswith("torch=="))
    (HERE.parent / "requirements.lock").write_text(HEADER + lock(everything))
    (HERE / "image.lock").write_text(IMAGE_HEADER + lock(image))
    (HERE / "torch.lock").write_text(TORCH_HEADER + torch)


if __name__ == "__main__":
    main()
