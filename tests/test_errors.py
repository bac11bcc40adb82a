"""Errors of other libraries become one line; those that are one already stay as they are."""

import pytest

from interpretability.errors import MissingError, UserError, first_line, user_errors


@pytest.mark.parametrize(("whole", "words"), [(False, "line 1"), (True, "line 1 line 2")])
def test_an_error_becomes_one_line_with_advice(whole, words):
    with pytest.raises(UserError) as caught, user_errors("bad", KeyError, ValueError, advice="; go", whole=whole):
        raise ValueError("line 1\n  line 2")
    assert str(caught.value) == f"bad ({words}); go"
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_without_a_text_says_its_type_and_a_long_one_is_cut():
    with pytest.raises(UserError, match=r"^no \(RuntimeError\)$"), user_errors("no"):
        raise RuntimeError
    with pytest.raises(UserError, match=r"^no \(x{300}\)$"), user_errors("no", whole=True):
        raise RuntimeError("x" * 1000)


def test_other_errors_and_those_of_ours_pass():
    with pytest.raises(KeyError), user_errors("no", ValueError):
        raise KeyError("other")
    with pytest.raises(MissingError, match=r"^as it was$"), user_errors("no"):
        raise MissingError("as it was")


def test_a_missing_thing_is_a_file_not_found():
    with pytest.raises(FileNotFoundError, match=r"^no model \(offline\)$"), user_errors("no model", kind=MissingError):
        raise OSError("offline")


def test_the_first_line():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
