"""Plain words: expressions and names that readers stumble on are used nowhere."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

#: Expression -> what to write in its place.
EXPRESSIONS = {
    r"mend(?:s|ed|ing)?": "fix, correct",
    r"some ?body(?: else)?": "a user, a third-party …",
    r"no ?body": "no one, nothing, the passive",
    r"(?:of|is) (?:ours|theirs)": "the package's, its",
    r"Yours to": "say who does what",
    r"If that (?:are|is) all": "if these are all",
    r"a line an? \w+": "one line per …",
    r"tell(?:s|ing)? \w+ apart|told apart": "distinguish, identify",
    r"(?:says?|said) of (?:it|itself|them|themselves)": "records, describes",
}
#: Names that say nothing of what they hold, or what they return.
NAMES = {"found", "made", "said", "own", "seen", "goal", "Seen", "see", "hear", "_try", "PLAIN", "FACTS"}

HERE = Path(__file__)
PYTHON = [
    path
    for folder in ("interpretability", "tools", "recipes", "tests")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if path != HERE
]
TEXTS = [
    *PYTHON,
    *(
        path
        for pattern in ("*.md", "docs/*.md", "recipes/**/*.md", "hparams/**/*.yaml", "recipes/**/*.yaml", "tools/*.sh")
        for path in sorted(REPOSITORY.glob(pattern))
    ),
]


def names_in(tree: ast.AST) -> list[tuple[int, str]]:
    """Return the names that a module gives, with their lines: of variables, parameters, functions and classes."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append((node.lineno, node.name))
    return names


def expressions_in(text: str) -> list[str]:
    """Return the expressions of the list in a text, with their lines and what to write in their place."""
    return [
        f"line {text[: match.start()].count(chr(10)) + 1}: {match[0]!r} ({better})"
        for expression, better in EXPRESSIONS.items()
        for match in re.finditer(rf"\b(?:{expression})\b", text, flags=re.IGNORECASE)
    ]


def test_names_say_what_they_hold():
    for path in PYTHON:
        names = names_in(ast.parse(path.read_text(encoding="utf-8")))
        assert [(line, name) for line, name in names if name in NAMES] == [], path.relative_to(REPOSITORY)


def test_texts_are_in_plain_words():
    for path in TEXTS:
        assert expressions_in(path.read_text(encoding="utf-8")) == [], path.relative_to(REPOSITORY)


@pytest.mark.parametrize("text", ["the user's to mend", "a fault of ours", "what somebody wants", "a line a clip"])
def test_the_list_catches(text):
    assert expressions_in(text)


@pytest.mark.parametrize(
    "code", ["found = 1", "def see(): ...", "lambda said: 1", "class Seen: ...", "for own in x: ..."]
)
def test_the_names_are_caught(code):
    assert NAMES.intersection(name for _, name in names_in(ast.parse(code)))
