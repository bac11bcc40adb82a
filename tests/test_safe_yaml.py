"""YAML of others: what HyperPyYAML makes of honest files, and nothing of one that would run code or grow for ever."""

import time

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml
from payloads import HELPERS, RUN, RUNNING

from interpretability.errors import UserError
from interpretability.safe_yaml import MAX_BYTES, build, dump, parse

TORCH = ("torch.nn.",)


def find(tag):
    """The classes that may be built here."""
    known = {"torch.nn.Linear": torch.nn.Linear, "torch.nn.ReLU": torch.nn.ReLU, "torch.nn.Identity": torch.nn.Identity}
    kind, _, place = tag.partition(":")
    if kind not in ("!new", "!name") or place not in known:
        raise UserError(f"a.yaml: {tag!r} is not on the list")
    return known[place]


def load(text, where="a.yaml"):
    return build(parse(text, where, TORCH).whole(), find, where)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2.5\nc: 1e-3\nd: .5\ne: 0x1F\nf: -7\ng: 1_000\nh: .inf\ni: 1.",
        "a: true\nb: False\nc: null\nd: ~\ne:\nf: yes\ng: 'true'\nh: \"1\"\ni: 12 kHz",
        "a: [1, two, [3.0, null]]\nb: {c: {d: 1}, 5: x}\nc:\n- 1\n- {a: 2}",
        "a: (1, 2.5, foo)\nb: (3,)\nc: ( 4 , 5 )\nd: ()\ne: !tuple (6, 7)\nf: [(1, 2), (3, 4)]",
        "a: 3\nb: !ref <a>\nc: !ref <a> + 1\nd: !ref <a> * <a> - 1\nf: !ref <a> // 2",
        "a: 3\nb: !ref <a> ** 2\nc: !ref <a> / 2\nd: !ref 2 * (<a> + 1)\ne: !ref <a> % 2\nf: !ref -<a>",
        "a: 3\nb: !ref results/<a>/save\nc: !ref <a>_<a>\nd: !ref x\ne: !ref <a>/\nf: !ref '<a>'",
        "a: {b: {c: [1, 2]}}\nd: !ref <a[b]>\ne: !ref <a[b][c]>\nf: !copy <a[b][c]>",
        "a: text\nb: !ref <a>\nc: !ref <a>/<a>\nd: !ref <a> <a>\ne: 0.1\nf: !ref v<e>",
        "a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}\nd: [*x]",
        "a: !!str 1\nb: !!float 2\nc: !!int '3'\nd: ! 4",
        'a: |\n  two\n  lines\nb: >\n  one\n  line\nc: "\\t\\u00e9"\n# end\n',
    ],
)
def test_plain_files_are_what_hyperpyyaml_makes_of_them(text):
    ours, theirs = load(text), load_hyperpyyaml(text)
    assert ours == theirs
    assert [type(value).__name__ for value in ours.values()] == [type(value).__name__ for value in theirs.values()]


def test_a_text_of_references_can_be_a_tuple():
    """What HyperPyYAML makes of it depends on what it loaded before: a tuple at first, a text later."""
    assert load("a: 3\nb: !ref (<a>, <a>)")["b"] == (3, 3)


def test_what_is_built_is_shared_and_copied_as_hyperpyyaml_does():
    text = (
        "n: 3\n"
        "layer: !new:torch.nn.Linear\n    in_features: !ref <n>\n    out_features: !ref <n> + 1\n"
        "same: !ref <layer>\nother: !copy <layer>\nall: {deep: [!ref <layer>]}\n"
        "act: !name:torch.nn.ReLU\nhalf: !name:torch.nn.Linear {in_features: 2}\nargs: !new:torch.nn.Linear [2, 1]\n"
        "empty: !new:torch.nn.ReLU\nfalse_end: !new:torch.nn.Identity\n"
    )
    for content in (load(text), load_hyperpyyaml(text)):
        assert (content["layer"].in_features, content["layer"].out_features) == (3, 4)
        assert content["same"] is content["layer"] is content["all"]["deep"][0]
        assert content["other"] is not content["layer"]
        assert content["act"] is torch.nn.ReLU
        assert content["half"](out_features=5).weight.shape == (5, 2)
        assert content["args"].weight.shape == (1, 2)
        assert isinstance(content["empty"], torch.nn.ReLU)


def test_order_does_not_matter_and_only_what_is_asked_for_is_looked_up():
    document = parse(
        "c: !ref <b>\nb: !ref <a> + 1\na: 2\nhole: !PLACEHOLDER\nrun: !apply:torch.nn.f [1]", "a.yaml", TORCH
    )
    assert document.plain("c") == 3
    assert document.plain("absent", 7) == 7
    with pytest.raises(UserError, match=r"^a\.yaml: a value is a !PLACEHOLDER: fill it in"):
        document.get("hole")
    with pytest.raises(UserError, match="run has to be a plain value"):
        document.plain("run")
    with pytest.raises(UserError, match="is not on the list"):
        build(document.get("run"), find, "a.yaml")
    with pytest.raises(UserError, match="is refused where it would be built: it runs a function"):
        build(document.get("run"), lambda tag: print, "a.yaml")


def test_what_is_written_reads_the_same():
    text = (
        "layer: &l !new:torch.nn.Linear {in_features: 2, out_features: 3}\nsame: *l\nt: (1, a)\n"
        "x: [*l, null, true, 1e-7]\nname: !name:torch.nn.ReLU\nlike: ['1', 'true', '', '(1, 2)', '~']\n"
        'text: "quote \' \\" \\\\ \\n \\x7f \\u2028 é #: {["\n'
        "inf: -.inf\n5: {6: 7}\n"
    )
    document = parse(text, "a.yaml", TORCH)
    content = {key: document.get(key) for key in document.whole().value}
    written = dump(content)
    again = parse(written, "b.yaml", TORCH)
    assert dump({key: again.get(key) for key in content}) == written
    first, second = load(text), load(written)
    assert second.pop("same") is second["x"][0] is second.pop("layer")
    del first["same"], first["layer"], first["x"][0], second["x"][0]
    assert first == second


EXPLODING = {
    "aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "references": "a0: [x, x]\n" + "".join(f"a{i}: [!ref <a{i - 1}>, !ref <a{i - 1}>]\n" for i in range(1, 30)),
    "copies": "a0: [x, x]\n" + "".join(f"a{i}: [!copy <a{i - 1}>, !copy <a{i - 1}>]\n" for i in range(1, 30)),
    "texts": "a0: xxxxxxxx\n" + "".join(f"a{i}: !ref <a{i - 1}><a{i - 1}>\n" for i in range(1, 30)),
    "long chain": "".join(f"a{i}: !ref <a{i + 1}>\n" for i in range(300)) + "a300: 1\n",
    "nested references": "".join(f"a{i}: [!ref <a{i + 1}>]\n" for i in range(300)) + "a300: 1\n",
    "merges": "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: *a{i - 1}}}\n" for i in range(1, 30)),
    "deep list": "a: " + "[" * 5000 + "]" * 5000,
    "deep mapping": "a: " + "{b: " * 5000 + "}" * 5000,
    "deep block": "".join(" " * i + "a:\n" for i in range(200)),
    "deep in a tuple": "a: (" + "[" * 5000 + "]" * 5000 + ")",
    "many values": "a: [" + "1, " * 20_000 + "]",
    "long file": "a: '" + "x" * MAX_BYTES + "'",
    "power": "n: 9\na: !ref <n>**<n>**<n>",
    "power of a fraction": "n: 9.5\na: !ref <n>**9999",
    "long digits": "n: 999999999\na: !ref <n>**20",
    "division": "n: 0\na: !ref 1 / <n>",
    "root": "n: 0.5\na: !ref (0-4) ** <n>",
    "digits": "a: " + "9" * 5000,
}


@pytest.mark.parametrize("name", EXPLODING)
def test_what_would_grow_without_end_is_refused_at_once(name):
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        load(EXPLODING[name])
    assert time.process_time() - began < 5
    assert str(caught.value).startswith("a.yaml: ")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", RUNNING)
def test_nothing_runs_that_is_not_on_the_list(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    (tmp_path / "evil.yaml").write_text(f"x: {RUN}".replace("MARK", str(mark)))
    text = f"{HELPERS}a: {RUNNING[name]}\n".replace("MARK", str(mark))
    with pytest.raises(UserError) as caught:
        load(text)
    assert str(caught.value).startswith("a.yaml: ")
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_other_ways_of_naming_a_tag(tmp_path):
    for head in (
        "%TAG !e! tag:yaml.org,2002:python/object/apply:\n---\na: !e!os.system",
        "%TAG ! !apply:os.\n---\na: !system",
    ):
        with pytest.raises(UserError, match="is refused: it could run any code"):
            load(f"{head} ['touch {tmp_path / 'mark'}']")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: caf\xe9", "not text in UTF-8 .byte 6.: save it as UTF-8"),
        (b"\xff\xfea\x00:\x00 \x001\x00", "not text in UTF-8"),
        ("a: \0", "not valid YAML"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
        ("a: [1\nb: 2", "not valid YAML"),
        ("a: 1\n---\na: 2", "several documents"),
        ("a: 1\na: 2", "the key 'a' is given twice"),
        ("just words", "expected keys and values, got 'str'"),
        ("- 1", "expected keys and values, got 'list'"),
        ("", "expected keys and values, got 'NoneType'"),
        ("!new:torch.nn.ReLU {}", "expected keys and values"),
        ("a: !!int x", "that is no int"),
        ("a: ((1, 2), 3)", "a tuple stands in a tuple"),
        (
            "a: !new:torch.nn.Linear {in_features: -1, out_features: 2}",
            "its modules cannot be built .*negative dimension",
        ),
        ("a: !new:torch.nn.Linear {5: 2}", "its settings have to have names"),
        ("a: !new:torch.nn.Linear {size: 2}", "unexpected keyword argument 'size'"),
        ("b: [1]\na: !ref x<b>", "expected a number or a text there"),
    ],
)
def test_files_that_say_nothing_are_refused_in_one_line(content, words):
    with pytest.raises(UserError, match=words) as caught:
        load(content)
    assert str(caught.value).startswith("a.yaml: ")
