"""The cache by meaning. Loaded only where it is turned on: it wants numpy, an extra's library."""

import os

# Matrices here are small: numpy's library would share each among threads that then wait for one
# another, up to 8 ms for what takes 0.1 (p99 on two busy cores). It reads this when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
