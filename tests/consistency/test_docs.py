"""The documentation: what it links to exists, what it shows comes in the right order, versions agree."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import interpretability
from interpretability.training.composition import list_yamls

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("recipes/**/*.md")]

#: The first line of a method that follows a paper.
PAPER = r'"""[^\n]*arXiv (\d{4}\.\d{5})'
#: Of the tables of results in README.md: a newcomer reads one of this size.
MAX_RESULTS = (4, 6)


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    assert [t for t in targets if not t.startswith("https://") and not (page.parent / t.split("#")[0]).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=str)
def test_pages_name_files_of_the_repository_that_exist(page):
    """Also in commands; CONTRIBUTING.md names files that its reader is to write."""
    named = r"(?<![\w/.-])((?:docs|hparams|interpretability|recipes|tests|tools)/[\w/-]+\.(?:md|py|sh|yaml))"
    yamls = {name for folder in REPOSITORY.glob("recipes/*/hparams") for name in list_yamls(folder)}
    for path in re.findall(named, page.read_text(encoding="utf-8")):
        assert (REPOSITORY / path).is_file() or path.removeprefix("hparams/") in yamls, path


def test_a_picture_and_the_two_commands_come_before_any_table():
    text = README.read_text(encoding="utf-8")
    first_table = text.index("\n| ")
    for shown in ("docs/demo.png", "bash tools/demo.sh", "bash tools/test.sh", "explanation.wav", "```python"):
        assert 0 < text.index(shown) < first_table, shown


def test_tables_of_results_are_short():
    tables = re.findall(r"(?:^\|.*\n)+", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    results = [table.splitlines() for table in tables if "↑" in table]
    assert results
    for head, _, *rows in results:
        assert (len(rows), head.count("|") - 1) <= MAX_RESULTS
        assert head.count("|") - 1 <= MAX_RESULTS[1]


def test_each_paper_of_a_method_is_linked():
    linked = set(re.findall(r"https://arxiv\.org/abs/(\d{4}\.\d{5})", README.read_text(encoding="utf-8")))
    methods = (REPOSITORY / "interpretability" / "methods").glob("*.py")
    sources = {path.name: re.match(PAPER, path.read_text(encoding="utf-8")) for path in methods}
    papers = {name: source[1] for name, source in sources.items() if source}
    assert papers
    assert {name: paper for name, paper in papers.items() if paper not in linked} == {}


def test_the_citation_file_is_complete_and_has_the_version_of_the_package():
    citation = YAML(typ="safe").load(REPOSITORY / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == interpretability.__version__
    assert citation["license"] == "Apache-2.0"
