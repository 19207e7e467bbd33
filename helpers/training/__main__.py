"""Train the models that lessons share: ``python -m helpers.training``."""

import sys

from helpers.training.presets import main

sys.exit(main())
