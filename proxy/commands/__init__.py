"""The commands of `turnout`, one module each: `add` declares it, `run` does it."""
