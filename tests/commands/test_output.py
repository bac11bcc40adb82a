"""What a command prints: sentences, or JSON lines and nothing else."""

import contextlib
import io

from interpretability.commands.output import output


def printed(as_json):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), output(as_json) as to:
        to.say("words")
        to.emit({"a": 1})
        print("what a library prints")
    return out.getvalue(), err.getvalue()


def test_sentences_for_people():
    assert printed(False) == ("words\nwhat a library prints\n", "")


def test_lines_of_json_alone_for_pipes():
    assert printed(True) == ('{"a": 1}\n', "what a library prints\n")
