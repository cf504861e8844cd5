"""`python -m kosmos2_cli`, for an interpreter without the installed command."""

import sys

from kosmos2_cli.main import main

sys.exit(main())
