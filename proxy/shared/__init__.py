"""What processes and machines share through Redis: counts, circuits, revocations.

Nothing here is needed for a request to be served: while Redis is away each process goes on alone.
"""
