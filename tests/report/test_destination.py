"""Where results may be written: never over the explained sound, whatever the names; nor over the result of another."""

import os

import pytest

from interpretability.errors import UserError
from interpretability.files import atomic_folder, write_json
from interpretability.report.destination import DESCRIPTION, check_destination, check_same, finished

RESULT = {"source": "/sounds/a.wav", "sound_sha256": "1", "model": {"method": "piq", "sha256": "2"}}


@pytest.fixture
def result(tmp_path):
    """An earlier result, as this program writes it."""
    with atomic_folder(tmp_path / "out") as folder:
        write_json(folder / DESCRIPTION, RESULT)
        (folder / "input.wav").write_bytes(b"sound")
    return tmp_path / "out"


def a_file_of_the_result(folder):
    return folder, folder / "input.wav"


def a_relative_path(folder):
    return folder / ".." / folder.name, folder / "input.wav"


def a_link_to_the_folder(folder):
    (folder.parent / "link").symlink_to(folder, target_is_directory=True)
    return folder.parent / "link", folder / "input.wav"


def the_sound_through_a_link_to_the_folder(folder):
    (folder.parent / "link").symlink_to(folder, target_is_directory=True)
    return folder, folder.parent / "link" / "input.wav"


def a_link_to_the_sound(folder):
    (folder.parent / "link.wav").symlink_to(folder / "input.wav")
    return folder, folder.parent / "link.wav"


def a_second_name_of_the_sound(folder):
    os.link(folder / "input.wav", folder.parent / "second.wav")
    return folder, folder.parent / "second.wav"


def a_sound_of_another_name_in_the_folder(folder):
    (folder / "mine.wav").write_bytes(b"mine")
    return folder, folder / "mine.wav"


def a_sound_further_below(folder):
    (folder / "below").mkdir()
    (folder / "below" / "mine.wav").write_bytes(b"mine")
    return folder, folder / "below" / "mine.wav"


def a_folder_above(folder):
    return folder.parent, folder / "input.wav"


CASES = [
    a_file_of_the_result,
    a_relative_path,
    a_link_to_the_folder,
    the_sound_through_a_link_to_the_folder,
    a_link_to_the_sound,
    a_second_name_of_the_sound,
    a_sound_of_another_name_in_the_folder,
    a_sound_further_below,
    a_folder_above,
]


@pytest.mark.parametrize("arrange", CASES, ids=lambda arrange: arrange.__name__)
def test_the_explained_sound_is_never_replaced_whatever_the_names(arrange, result):
    folder, sound = arrange(result)
    with pytest.raises(UserError, match="would be replaced: name another folder"):
        check_destination(folder, [sound])


def test_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "input.wav").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    for folder, sound in ((".", "input.wav"), ("", "input.wav"), (tmp_path, tmp_path / "input.wav")):
        with pytest.raises(UserError, match=r"holds the sound input\.wav, and would be replaced"):
            check_destination(folder, [tmp_path / sound])


def test_a_new_folder_an_empty_one_and_an_earlier_result_are_free(result, tmp_path):
    sound = tmp_path / "sound.wav"
    sound.write_bytes(b"sound")
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "deep/er", "out"):
        check_destination(tmp_path / name, [sound])
        check_destination(tmp_path / name, [])


def test_a_sound_that_is_not_there_is_not_replaced(result, tmp_path):
    check_destination(result, [tmp_path / "none.wav"])


def test_what_the_user_keeps_there_stays(result, tmp_path):
    (result / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt'"):
        check_destination(result, [])


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"sound_sha256": "an edit of the file"},
        {"source": "/elsewhere/copy.wav"},
        {"source": None},
        {"explained": "another class"},
    ],
)
def test_the_same_sound_by_the_same_model_may_be_replaced(same, result):
    check_same(result, RESULT | same)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"source": "/sounds/b.wav", "sound_sha256": "9"}, "holds the explanation of /sounds/a.wav, not of b.wav"),
        ({"source": None, "sound_sha256": "9"}, "holds the explanation of /sounds/a.wav, not of this sound"),
        ({"model": {"method": "lmac", "sha256": "2"}}, "explanation of a.wav by another model or method"),
        ({"model": {"method": "piq", "sha256": None}}, "explanation of a.wav by another model or method"),
    ],
)
def test_the_result_of_another_sound_or_model_stays(other, words, result):
    with pytest.raises(UserError, match=f"{words}.*: name another folder, one for each sound, model and method"):
        check_same(result, RESULT | other)


def test_a_folder_that_is_new_or_holds_no_explanation(tmp_path):
    check_same(tmp_path / "new", RESULT)
    check_same(tmp_path, RESULT)
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(UserError, match="holds no explanation that could be replaced"):
        check_same(tmp_path, RESULT)


def test_a_name_that_the_system_does_not_take_is_one_line(tmp_path):
    (tmp_path / "a.wav").write_text("")
    with pytest.raises(UserError, match=r"cannot be made \(.*\): name a folder in a place that can be written"):
        check_destination(tmp_path / ("x" * 300), [tmp_path / "a.wav"])


def write_class(folder, label, classes, request):
    with atomic_folder(folder) as temporary:
        write_json(temporary / DESCRIPTION, {"explained": label, "request": request, "classes": classes})
        (temporary / "input.wav").write_bytes(b"sound")


def test_a_finished_request_is_known_if_all_of_it_is_there(tmp_path):
    request = {"sound": "1", "top_k": 2}
    assert finished(tmp_path / "out", request, True) == {}
    write_class(tmp_path / "out" / "b", "b", ["b", "a"], request)
    assert finished(tmp_path / "out", request, True) == {}  # the other is not there yet
    write_class(tmp_path / "out" / "a", "a", ["b", "a"], request)
    write_class(tmp_path / "out" / "c", "c", ["c"], {"sound": "1", "top_k": 1})  # of an earlier request
    assert [folder.name for folder in finished(tmp_path / "out", request, True)] == ["b", "a"]
    assert finished(tmp_path / "out", {**request, "sound": "2"}, True) == {}
    (tmp_path / "out" / "a" / "input.wav").unlink()
    assert finished(tmp_path / "out", request, True) == {}
    (tmp_path / "out" / "b" / DESCRIPTION).write_text("{")
    assert finished(tmp_path / "out", request, True) == {}
