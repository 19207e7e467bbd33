"""Train the models that lessons share: ``python -m helpers.training``."""

import sys

from helpers.training.shared_models import main

sys.exit(main())
