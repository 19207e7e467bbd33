"""The real cells of the helpers' tests, for the tests of studies."""

from tests.helpers.conftest import (  # noqa: F401 -- fixtures are found by their names
    blood,
    cortex,
    pbmc,
    prepared,
    whole_blood,
    whole_cortex,
    whole_pbmc,
)
