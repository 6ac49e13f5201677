"""The contract's assertions explain themselves, as those of the tests do."""

import pytest

pytest.register_assert_rewrite("nasmeta.testing.search_spaces")
