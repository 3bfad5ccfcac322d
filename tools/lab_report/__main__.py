"""`python -m tools.lab_report`."""

import sys

from .report import main

sys.exit(main())
