"""`python -m nst_lightning`."""

import sys

from nst_lightning.cli import main

sys.exit(main())
