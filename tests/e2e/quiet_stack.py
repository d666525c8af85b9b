"""`make up`'s command without Airflow's schedule: no run begins that the test does not ask for."""

from __future__ import annotations

import sys
from functools import partial

from stack import __main__ as launcher
from stack.stack import Stack

if __name__ == "__main__":
    # The scheduler would ask the providers for the days since the data was made.
    vars(launcher)["Stack"] = partial(Stack, on_schedule=False)
    sys.exit(launcher.main(["up"]))
