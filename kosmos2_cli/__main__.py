"""`python -m kosmos2_cli`: the command `kosmos2`, for an interpreter in which it is not installed."""

import sys

from kosmos2_cli.main import main

sys.exit(main())
