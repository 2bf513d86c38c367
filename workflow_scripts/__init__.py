"""The scripts that the workflow's jobs run, and what they share."""

import gc

# A job begins with thousands of imported modules, of which nothing is garbage: with Python's own threshold a sixth of that time
# goes to looking for it.
gc.set_threshold(100_000)
