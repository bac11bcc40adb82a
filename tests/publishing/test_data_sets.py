"""What is known of the data sets of the recipes."""

import pytest

from interpretability.errors import UserError
from interpretability.publishing.data_sets import DATA_SETS, licence_of


def test_the_licence_of_the_data_is_that_of_the_weights_where_it_is_known():
    assert licence_of({"name": "Synthetic"}) == "apache-2.0"
    assert licence_of({"name": "ESC-50"}) == "cc-by-nc-3.0"
    for unknown in ({}, {"name": "Custom"}, {"name": None}, {"name": ["x"]}):
        with pytest.raises(UserError, match="give --license"):
            licence_of(unknown)


def test_each_is_a_name_that_a_recipe_records():
    """As the functions that prepare data write them into ``PreparedData.description``."""
    assert set(DATA_SETS) == {"Synthetic", "ESC-50", "ESC-10", "UrbanSound8K"}
