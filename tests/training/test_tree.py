"""A YAML as a tree: parsed, walked, written."""

import pytest

from interpretability.errors import UserError
from interpretability.training.tree import dump, nodes, parse, replace_nodes, tag_of

TEXT = "a: 1\nb: !ref <a>/x\nc: !name:collections.Counter\n  d: [2, 'e']\n"


def test_nodes_have_dotted_names_and_tags():
    tags = {place: tag_of(node) for place, node in nodes(parse(TEXT, "it"))}
    assert tags == {
        **dict.fromkeys(("", "a", "c.d", "c.d.0", "c.d.1"), ""),
        "b": "!ref",
        "c": "!name:collections.Counter",
    }


def test_what_is_written_is_what_was_read_but_for_what_was_replaced():
    tree = parse(TEXT, "it")
    assert dump(tree) == TEXT
    replace_nodes(tree, {"c.d.1": "g", "b": 3, "absent": 0})
    assert dump(tree) == TEXT.replace("'e'", "'g'").replace("!ref <a>/x", "3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "--x, line 1: not valid YAML"),
        ("a: 1\na: 2", "--x, line 2: not valid YAML"),
        ("[" * 5000, "--x: nested deeper than 64 levels"),
        ("2026-13-99", "--x: not valid YAML"),
        ("a: \x00", "--x: not valid YAML"),
    ],
    ids=range(5),
)
def test_what_is_no_yaml_is_one_line(text, words):
    with pytest.raises(UserError) as caught:
        parse(text, "--x")
    assert words in str(caught.value)
