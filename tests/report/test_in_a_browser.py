"""The page of explanations in a real browser: it can be looked at, heard, sorted, filtered and used by the keyboard."""

import dataclasses
import os
import shutil
import time

import pytest
import tiny
import torch
import whistles
from page_clips import lines_of, summary_of

from interpretability import explain_recording
from interpretability.events import Event
from interpretability.methods.baselines import EnergyMask, RandomMask
from interpretability.report.clips import Clip
from interpretability.report.html_report import write_report
from interpretability.report.recordings import Recording

pytestmark = pytest.mark.slow

RATE, SECONDS, TONE, ONSET = 16000, 1.2, 1000.0, 0.5  # the tone begins in the middle of each clip
ODD = "</script><img src=x onerror=alert(1)> \"'& \U0001f426 \u05e6\u05d9\u05e4\u05d5\u05e8"
LABELS = ["dog", ODD, "rain", "siren", "wind", "bird"]
#: Begins a function of a canvas, which is copied: what is read often is kept in another memory.
PIXELS = """canvas => {
    const { width, height } = canvas;
    const copied = Object.assign(document.createElement('canvas'), { width, height })
        .getContext('2d', { willReadFrequently: true });
    copied.drawImage(canvas, 0, 0);
"""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def make_clips():
    """Explain four sounds by two methods: the second and the fourth are classified wrongly."""
    classifier = tiny.listening_classifier(LABELS)
    t = torch.arange(int(RATE * SECONDS)) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * TONE * t) * (t >= ONSET)
    sounds = torch.stack([tone + 0.001 * k * tiny.noise(len(t)) for k in range(4)])
    event = Event("", ONSET, 0.9, 500.0, 1500.0, share=0.8, probability=0.9, alone=0.7, without=0.2)
    small = dataclasses.replace(event, start=0.05, end=0.2, low=4000.0, high=6000.0)
    for method in (EnergyMask(classifier, area=0.1), RandomMask(classifier, area=0.1)):
        explanation = method.explain(sounds)
        for k in range(4):
            described = explanation.describe(k)
            events = [{**each.to_dict(), "label": described["explained"]} for each in (event, small)]
            name = f"{ODD} {k}" if k == 1 else f"clip {k}"
            true = described["predicted"] if k in (0, 2) else next(x for x in LABELS if x != described["predicted"])
            # The last one is a part of a longer recording.
            start = 600.0 if k == 2 else 0.0
            yield Clip.of(explanation, k, name, true, described={**described, "events": events}, start=start)


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, headless, once for all tests."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -r requirements-dev.txt")
    place = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if place is None:
        pytest.skip("no Chromium: apt install chromium, or name it in CHROMIUM")
    with api.sync_playwright() as playwright:
        # As root there is no sandbox; the machine may have no sound card.
        started = playwright.chromium.launch(executable_path=place, args=["--no-sandbox", "--mute-audio"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page with four sounds, two methods, classes and a comparison."""
    values = {
        "energy": [0.5 + 0.01 * k for k in range(12)],
        "random": [0.1] * 12,
        "none": [0.6 + 0.01 * k for k in range(12)],
    }
    rows = lines_of(values)
    path = tmp_path_factory.mktemp("page") / "report.html"
    about = {"Model": ODD, "Data": "tones"}
    return write_report(path, make_clips(), f"Of {ODD}", about, summary_of(rows), rows, 9).as_uri()


@dataclasses.dataclass
class Opened:
    """A page in the browser, and what it has printed and asked for."""

    page: object
    printed: list
    asked: list
    seconds: float


@pytest.fixture(scope="module")
def opened(browser, address):
    page = browser.new_page(viewport=DESKTOP)
    printed, asked = [], []
    page.on("console", lambda message: printed.append(message.text))
    page.on("pageerror", lambda error: printed.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    began = time.perf_counter()
    page.goto(address)
    page.locator("#clip-0").scroll_into_view_if_needed()
    page.locator("#clip-0 .view").first.wait_for()
    yield Opened(page, printed, asked, time.perf_counter() - began)
    page.close()
    assert printed == []
    assert [url for url in asked if not url.startswith("data:")] == [address]


@pytest.fixture
def page(opened):
    """The page, at its first clip, with all settings as they are at first."""
    opened.page.evaluate("document.getElementById('tools').reset()")
    for name in ("class", "scale", "opacity", "boxes"):
        opened.page.locator(f"[name={name}]").first.dispatch_event("input")
    opened.page.locator("#clip-0").scroll_into_view_if_needed()
    opened.page.locator("#clip-0 .view .tick").first.wait_for()
    return opened.page


def view_of(page, clip=0, method=0):
    return page.locator(f"#clip-{clip} .view").nth(method)


def playhead(view):
    return float(view.locator(".seek").input_value())


def wait_for(page, condition, most=8.0):
    """Wait until a condition holds."""
    until = time.perf_counter() + most
    while not condition():
        assert time.perf_counter() < until, "it does not come to hold"
        page.wait_for_timeout(20)


def test_names_are_text_and_the_script_in_one_does_not_run(page, opened):
    assert page.title() == f"Of {ODD}"
    assert page.locator("h1").text_content() == f"Of {ODD}"
    names = page.locator("article h3").all_text_contents()
    # Those that are classified wrongly first, else in their order.
    assert names == [f"{ODD} 1", "clip 3", "clip 0", "clip 2"]
    assert page.locator("img").count() == 0
    assert ODD in page.locator("#clip-0 .verdict").text_content() or ODD in page.locator("#clip-0 h3").text_content()
    assert "4 of 9 clips" in page.locator("main").text_content()


def test_it_is_usable_at_once(opened):
    assert opened.seconds < 5  # a start, on whatever machine: tenths of a second


def test_sounds_last_as_long_as_they_do_and_begin_when_they_do(page):
    measured = page.evaluate(
        """async () => {
            const data = JSON.parse(document.querySelector('#clip-0 script').textContent);
            const results = [];
            for (const address of [data.input, data.views[0].explanation, data.views[0].residual]) {
                const audio = new Audio(address);
                await new Promise((resolve) => audio.addEventListener('loadedmetadata', resolve));
                const bytes = Uint8Array.from(atob(address.split(',')[1]), (c) => c.charCodeAt(0));
                const buffer = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes.buffer);
                const samples = buffer.getChannelData(0);
                const onset = samples.findIndex((value) => Math.abs(value) > 0.2) / buffer.sampleRate;
                results.push([audio.duration, buffer.duration, onset]);
            }
            return results;
        }"""
    )
    delay = 1105 / RATE
    for duration, decoded, _ in measured:
        assert duration == pytest.approx(SECONDS, abs=0.12)
        assert decoded == pytest.approx(SECONDS, abs=0.01) or decoded > SECONDS + 0.9 * delay
    # What the page takes away in front is what the encoder has put there.
    _, decoded, onset = measured[0]
    assert onset - (delay if decoded > SECONDS + 0.9 * delay else 0) == pytest.approx(ONSET, abs=0.01)


def test_playing_moves_the_playhead_to_the_end_and_all_sounds_share_it(page):
    view = view_of(page)
    assert view.locator(".time").text_content() == "0.00 / 1.20 s"
    view.locator(".play").click()
    wait_for(page, lambda: playhead(view) > 0.1)
    assert "Pause" in view.locator(".play").text_content()
    before = playhead(view)
    view.get_by_label("Residual", exact=True).check(force=True)
    assert before <= playhead(view) < SECONDS
    left = [float(view.locator(".playhead").evaluate("line => parseFloat(line.style.left)")) for _ in range(2)]
    assert 0 < left[0] <= left[1] <= 100
    wait_for(page, lambda: "Play" in view.locator(".play").text_content())
    assert playhead(view) == pytest.approx(SECONDS, abs=0.01)
    assert view.get_by_label("Residual", exact=True).is_checked()


def test_what_is_heard_is_the_chosen_sound(page):
    """The gains of the three sounds, which all run: one is 1."""
    gains = page.evaluate(
        """async () => {
            const made = [], create = AudioContext.prototype.createGain;
            AudioContext.prototype.createGain = function () {
                const node = create.call(this);
                made.push(node);
                return node;
            };
            const view = document.querySelector('#clip-1 .view');
            view.querySelector('.play').click();
            const value = () => made.map((node) => Math.round(node.gain.value));
            const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
            while (made.length < 3) await wait(10);
            const first = value();
            view.querySelector('input[value=explanation]').click();
            await wait(150);
            const second = value();
            view.querySelector('.play').click();
            AudioContext.prototype.createGain = create;
            return [first, second];
        }"""
    )
    assert gains[1] == [0, 1, 0]
    assert sorted(gains[0]) == [0, 0, 1]


def test_a_sound_that_cannot_be_played_is_said(page):
    page.evaluate(
        """() => {
            window.decode = BaseAudioContext.prototype.decodeAudioData;
            BaseAudioContext.prototype.decodeAudioData = () => Promise.reject(new Error('no such format'));
        }"""
    )
    view = view_of(page, 0, 1)
    view.locator(".play").click()
    wait_for(page, lambda: "cannot play the sound (no such format)" in view.locator(".time").text_content())
    assert "Play" in view.locator(".play").text_content()
    page.evaluate("() => { BaseAudioContext.prototype.decodeAudioData = window.decode; }")
    view.locator(".play").click()
    wait_for(page, lambda: playhead(view) > 0.05)
    view.locator(".play").click()


def test_times_are_those_of_the_recording(page):
    page.locator("#clip-3").scroll_into_view_if_needed()
    view = view_of(page, 3)
    view.locator(".tick").first.wait_for()
    assert view.locator(".time").text_content() == "600.00 / 601.20 s"
    assert view.locator(".tick.seconds").all_text_contents()[:2] == ["600 s", "600.2 s"]
    assert view.locator(".tick.seconds").first.evaluate("tick => tick.style.left") == "0%"
    assert "600.50–600.90 s" in view.locator(".events").text_content()
    view.locator(".box").first.click()
    wait_for(page, lambda: "Play" in view.locator(".play").text_content())
    assert view.locator(".time").text_content() == "600.90 / 601.20 s"


def test_an_event_plays_from_its_start_to_its_end(page):
    view = view_of(page)
    box = view.locator(".box").nth(0)
    assert "0.50–0.90 s, 500–1500 Hz" in box.get_attribute("aria-label")
    box.click()
    assert playhead(view) >= ONSET
    wait_for(page, lambda: "Play" in view.locator(".play").text_content())
    assert playhead(view) == pytest.approx(0.9, abs=0.01)
    view.locator(".events button").nth(1).click()
    wait_for(page, lambda: "Play" in view.locator(".play").text_content())
    assert playhead(view) == pytest.approx(0.2, abs=0.01)
    words = view.locator(".events").text_content()
    assert "90 % → 20 % without it, 70 % with it alone; 80 % of the explanation" in words
    page.locator("[name=boxes]").uncheck()
    assert not box.is_visible()


def test_a_click_into_the_picture_plays_from_there_and_one_plays_at_a_time(page):
    first, second = view_of(page, 0), view_of(page, 1)
    first.locator(".pane").click(position={"x": 5, "y": 5})
    pane = second.locator(".pane")
    pane.click(position={"x": 0.25 * pane.bounding_box()["width"], "y": 100})
    assert "Play" in first.locator(".play").text_content()
    assert playhead(second) >= 0.25 * SECONDS - 0.02
    second.locator(".play").click()
    assert "Play" in second.locator(".play").text_content()


def test_the_slider_shows_and_hides_the_mask(page):
    fog = view_of(page).locator("canvas.fog")
    slider = page.locator("[name=opacity]")
    assert fog.evaluate("canvas => getComputedStyle(canvas).opacity") == "0.8"
    slider.focus()
    slider.press("Home")
    assert fog.evaluate("canvas => getComputedStyle(canvas).opacity") == "0"
    slider.press("End")
    assert fog.evaluate("canvas => getComputedStyle(canvas).opacity") == "1"
    assert page.locator("#strength").text_content() == "100 %"
    # Clear where the mask keeps something, which is a tenth, and opaque elsewhere.
    clear = fog.evaluate(
        PIXELS
        + """
            const pixels = copied.getImageData(0, 0, width, height).data;
            let sum = 0;
            for (let k = 3; k < pixels.length; k += 4) sum += pixels[k];
            return 1 - sum / 255 / (pixels.length / 4);
        }"""
    )
    assert clear == pytest.approx(0.1, abs=0.03)


def brightest(view):
    """Return the height of the brightest row of the spectrogram, from 0 at the bottom to 1."""
    return view.locator("canvas").first.evaluate(
        PIXELS
        + """
            const pixels = copied.getImageData(Math.round(0.8 * width), 0, 1, height).data;
            let best = 0;
            for (let row = 0; row < height; row++) {
                const sum = (k) => pixels[4 * k] + pixels[4 * k + 1] + pixels[4 * k + 2];
                if (sum(row) > sum(best)) best = row;
            }
            return 1 - (best + 0.5) / height;
        }"""
    )


def test_the_axis_is_linear_or_mel(page):
    view = view_of(page)

    def box():
        return [
            view.locator(".box").first.evaluate(f"box => parseFloat(box.style.{side}) / 100")
            for side in ("bottom", "top")
        ]

    def mel(hertz):
        return float(torch.log10(torch.tensor(1 + hertz / 700)) / torch.log10(torch.tensor(1 + RATE / 2 / 700)))

    assert brightest(view) == pytest.approx(TONE / (RATE / 2), abs=0.02)
    assert box() == pytest.approx([500 / 8000, 1 - 1500 / 8000], abs=1e-3)
    page.locator("[name=scale][value=mel]").check()
    wait_for(page, lambda: abs(brightest(view) - mel(TONE)) < 0.02)
    assert box() == pytest.approx([mel(500), 1 - mel(1500)], abs=1e-3)
    assert "250 Hz" in view.locator(".tick.hertz").all_text_contents()
    assert view.locator(".tick.seconds").all_text_contents()[-1] == "1.2 s"


def shown(page):
    return [
        name
        for name, visible in zip(
            page.locator("article h3").all_text_contents(),
            page.locator("article").evaluate_all("all => all.map((each) => each.checkVisibility())"),
            strict=True,
        )
        if visible
    ]


def test_filters_choose_clips(page):
    assert page.locator("#count").text_content() == "4 of 4 clips"
    page.locator("[name=correct]").select_option(label="wrongly")
    assert shown(page) == [f"{ODD} 1", "clip 3"]
    page.locator("[name=name]").fill("CLIP")
    assert shown(page) == ["clip 3"]
    assert page.locator("#count").text_content() == "1 of 4 clips"
    page.locator("[name=correct]").select_option(label="correctly")
    assert shown(page) == ["clip 0", "clip 2"]
    page.locator("[name=name]").fill("")
    labels = page.locator("[name=class] option").all_text_contents()
    for place, label in list(enumerate(labels))[1:]:
        page.locator("[name=correct]").select_option("")
        page.locator("[name=class]").select_option(index=place)
        verdicts = page.locator("article .verdict").all_text_contents()
        names = page.locator("article h3").all_text_contents()
        assert shown(page) == [name for name, verdict in zip(names, verdicts, strict=True) if label in verdict]
    page.locator("[name=class]").select_option("")
    page.locator("[name=method]").select_option(label="random")
    assert view_of(page, 0, 1).is_visible()
    assert not view_of(page, 0, 0).is_visible()
    assert view_of(page, 0, 1).locator("h4").text_content().startswith("random: explains")


def column(page, table, place):
    return [
        row[place]
        for row in page.locator(f"table.{table}")
        .first.locator("tbody tr")
        .evaluate_all(
            "rows => rows.map((row) => [...row.cells].map((cell) => cell.dataset.value ?? cell.textContent.trim()))"
        )
    ]


def test_tables_are_sorted_by_their_heads_with_the_keyboard_too(page):
    table = page.locator("table.methods").first
    head = table.locator("th button", has_text="FF ↑")
    place = table.locator("thead th").all_text_contents().index("FF ↑")
    assert column(page, "methods", 0) == ["energy", "random", "none"]
    head.click()
    assert column(page, "methods", 0) == ["none", "energy", "random"]
    assert table.locator("thead th").nth(place).get_attribute("aria-sort") == "descending"
    head.press("Enter")
    assert column(page, "methods", 0) == ["random", "energy", "none"]
    assert table.locator("thead th").nth(place).get_attribute("aria-sort") == "ascending"
    values = [float(value) for value in column(page, "methods", place)]
    assert values == sorted(values)
    # The best is marked beyond chance, in words too.
    assert "best beyond chance" in table.locator("tr", has_text="none").locator("td").nth(place - 1).text_content()
    assert table.locator(".star").count() == 1


def test_a_class_of_the_table_chooses_its_clips(page):
    name = page.locator("table.classes th button.choose").first
    name.click()
    # These classes are made up: no clip has one, and all are shown.
    assert page.locator("[name=class]").input_value() == ""
    assert page.evaluate("document.activeElement.name") == "class"


def test_a_player_works_by_the_keyboard(page):
    view = view_of(page)
    play = view.locator(".play")
    play.focus()
    page.keyboard.press("2")
    assert view.get_by_label("Explanation", exact=True).is_checked()
    page.keyboard.press("Space")
    wait_for(page, lambda: "Pause" in play.text_content())
    page.keyboard.press("Space")
    assert "Play" in play.text_content()
    seek = view.locator(".seek")
    seek.focus()
    page.keyboard.press("End")
    assert seek.get_attribute("aria-valuetext") == "1.20 of 1.20 s"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert 0 < playhead(view) < 0.05
    page.keyboard.press("Space")
    wait_for(page, lambda: playhead(view) > 0.1)
    page.keyboard.press("Space")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#clips")


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
def test_no_serious_barrier_and_nothing_beyond_the_edge(page, scheme, size):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe-core: axe-playwright-python has it"
    )
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    try:
        page.locator("#clip-0").scroll_into_view_if_needed()
        view_of(page).locator(".tick").first.wait_for()
        answer = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response
        assert len(answer["passes"]) > 20
        serious = [each for each in answer["violations"] if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in serious] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    finally:
        page.set_viewport_size(DESKTOP)
        page.emulate_media(color_scheme="light")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A page with a recording of half a minute, in which a class is active twice, by two methods, and a clip."""
    folder = tmp_path_factory.mktemp("night")
    sound = whistles.write(folder / "night.wav", whistles.recording(30.0, [(7.3, 7.6), (21.0, 21.4)]))
    classifier, shown = whistles.classifier(), []
    for area in (0.02, 0.05):
        method = EnergyMask(classifier, area=area)
        result = explain_recording(method, sound, folder / f"{area}", target="whistle", window=2.0)
        shown.append(Recording.of_folder(result.folder))
    return write_report(folder / "report.html", [*shown, next(make_clips())], "A night").as_uri()


def test_a_recording_has_a_timeline_and_events_that_play(browser, night):
    page = browser.new_page(viewport=DESKTOP)
    printed = []
    page.on("console", lambda message: printed.append(message.text))
    page.on("pageerror", lambda error: printed.append(str(error)))
    page.goto(night)
    page.locator("#clip-0").scroll_into_view_if_needed()
    view = view_of(page)
    view.locator(".stage .tick").first.wait_for()
    assert page.locator("#clip-0 .view").count() == 2
    assert view.locator("h4").text_content() == "energy: explains whistle, active (at least 0.5) in 4 of 29 windows"
    events = view.locator(".events button")
    words = [words.partition("whistle")[0] for words in events.all_text_contents()]
    assert sorted(word[5:] for word in words) == [
        "0:07, 7.31–7.59 s, 2813–3188 Hz",
        "0:21, 21.01–21.39 s, 2813–3188 Hz",
    ]
    late = 0 if "0:21" in words[0] else 1
    events.nth(1 - late).click()
    wait_for(page, lambda: "Play" in view.locator(".play").text_content())
    assert view.locator(".time").text_content().startswith("7.59 / ")
    # A click on the line plays the event that is next to it, at its own time.
    pane = view.locator(".line-pane")
    pane.click(position={"x": 0.75 * pane.bounding_box()["width"], "y": 20})
    wait_for(page, lambda: "Play" in view.locator(".play").text_content())
    assert view.locator(".time").text_content().startswith("21.39 / ")
    assert events.nth(late).get_attribute("aria-current") == "true"
    head = view.locator(".line-pane .playhead").evaluate("line => parseFloat(line.style.left)")
    assert head == pytest.approx(100 * 21.39 / 30, abs=0.1)
    # The picture has the time of the recording, and the box is where the event is.
    assert "21 s" in view.locator(".stage .tick.seconds").all_text_contents()
    box = view.locator(".stage .box").bounding_box()
    whole = view.locator(".stage .pane").bounding_box()
    assert (box["x"] - whole["x"]) / whole["width"] == pytest.approx(0.25 / 0.88, abs=0.03)
    # By the keyboard; and a filter that leaves it out stops it.
    events.nth(1 - late).press("Enter")
    wait_for(page, lambda: "Pause" in view.locator(".play").text_content())
    page.locator("[name=name]").fill("clip")
    assert not view.is_visible()
    assert "Play" in page.locator("#clip-0 .play").first.text_content()
    page.locator("[name=name]").fill("")
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe-core: axe-playwright-python has it"
    )
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        view.locator(".stage .tick").first.wait_for()
        answer = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response
        serious = [each for each in answer["violations"] if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in serious] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.close()
    assert printed == []


def test_without_scripts_it_says_so(browser, address):
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    assert "need JavaScript" in page.locator("noscript").inner_text()
    assert "clip 3" in page.inner_text("main")
    page.close()
