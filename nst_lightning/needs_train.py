"""What folders that need the extra `train` import first, so that they say so where a package of it is missing."""

from nst_lightning.extras import require_extra

require_extra("train")
