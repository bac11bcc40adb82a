"""What a saved classifier records about its training."""

from interpretability.classifiers import load_classifier


def test_the_saved_classifier_says_how_it_was_made(tiny_classifier_folder):
    training = load_classifier(tiny_classifier_folder).description["training"]
    assert training["data"]["folds"] == {"train": [1], "valid": [2], "test": [3]}
    assert 0 <= training["test_accuracy"] <= 1
    assert training["n_test"] == 6
    assert training["seconds"] > 0
    assert training["seed"] == 1234
