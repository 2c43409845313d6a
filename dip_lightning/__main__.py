"""``python -m dip_lightning`` is ``dip-lightning``."""

import sys

from dip_lightning.cli import main

sys.exit(main())
