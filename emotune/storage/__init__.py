"""Where results lie when that is no folder: an S3-compatible bucket, for which a folder on this machine stands.

The rest of the program works on folders. What it writes that others must see it hands to `push`, and
what others may have written it asks of `pull`; for an ordinary folder both do nothing. A folder finds out by the
file ``.remote`` above it that it stands for a place in a bucket. The bucket is the truth, the folder a cache.
"""
