"""The cache by meaning. Loaded only where it is turned on: it wants numpy, an extra's library."""
