"use strict";
/* What moves on the page of explanations: tables that are sorted, clips that are chosen, pictures and players.
   Everything comes from the page itself. Text is only ever set as text. */
(() => {
  const SOUNDS = ["input", "explanation", "residual"];
  const NAMES = { input: "Input", explanation: "Explanation", residual: "Residual" };
  const MEL_TICKS = [0, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000];
  /* Decoded sounds are large: those of so many views are kept. */
  const MOST_DECODED = 8;
  /* Samples that an encoder of MP3 puts in front, which some browsers play and others take away. */
  const MP3_DELAY = 1105;
  const MP3_RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000];

  const tools = document.getElementById("tools");
  const gallery = document.getElementById("gallery");
  const articles = [...gallery.querySelectorAll("article.clip")];
  const cards = new Map();

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  const isolated = (text) => element("bdi", {}, text);
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const seconds = (value, end) => value.toFixed(end < 1000 ? 2 : 1);

  /* ------------------------------------------------------------------------------------------------ tables */

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = element("button", { type: "button", onclick: () => sort(table, heads, column) });
      button.append(...head.childNodes);
      head.append(button);
    });
  }

  function sort(table, heads, column) {
    const down = heads[column].getAttribute("aria-sort") !== "descending";
    const key = (row) => {
      const cell = row.cells[column];
      return column === 0 ? cell.textContent.trim() : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    };
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    /* Rows without a value stay below. */
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : (down ? -1 : 1) * order(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  for (const button of document.querySelectorAll(".choose")) {
    button.addEventListener("click", () => {
      const choice = [...tools.elements.class.options].find((option) => option.text === button.dataset.class);
      tools.elements.class.value = choice ? choice.value : "";
      choose();
      document.getElementById("clips").scrollIntoView();
      tools.elements.class.focus({ preventScroll: true });
    });
  }

  /* --------------------------------------------------------------------------------------- which clips are shown */

  const chosen = (name) => (tools.elements[name] ? tools.elements[name].value : "");
  const words = (text) => text.trim().split(/\s+/);

  function choose() {
    const name = chosen("name").trim().toLocaleLowerCase();
    let shown = 0;
    for (const article of articles) {
      const fits =
        (chosen("class") === "" || words(article.dataset.labels).includes(chosen("class"))) &&
        (chosen("correct") === "" || article.dataset.correct === chosen("correct")) &&
        (chosen("method") === "" || words(article.dataset.methods).includes(chosen("method"))) &&
        article.querySelector("h3").textContent.toLocaleLowerCase().includes(name);
      article.hidden = !fits;
      shown += fits;
      if (!fits && cards.has(article)) cards.get(article).views.forEach((view) => plays(view) && stop());
    }
    document.getElementById("count").textContent = `${shown} of ${articles.length} clips`;
    for (const card of cards.values()) showMethod(card);
  }

  function showMethod(card) {
    card.views.forEach((view, position) => {
      view.root.hidden = chosen("method") !== "" && words(card.article.dataset.methods)[position] !== chosen("method");
      if (view.root.hidden && plays(view)) stop();
    });
    if (card.near) card.views.forEach(draw);
  }

  function look(event) {
    if (event && event.target.name === "opacity") {
      document.documentElement.style.setProperty("--mask", tools.elements.opacity.value / 100);
      document.getElementById("strength").textContent = `${tools.elements.opacity.value} %`;
    } else if (event && event.target.name === "boxes") {
      gallery.classList.toggle("without-boxes", !tools.elements.boxes.checked);
    } else if (event && event.target.name === "scale") {
      for (const card of cards.values()) if (card.near) card.views.forEach(draw);
    } else choose();
  }
  tools.addEventListener("input", look);
  tools.addEventListener("submit", (event) => event.preventDefault());

  /* --------------------------------------------------------------------------- views: made when they come near */

  const watched = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting && !cards.has(target)) make(target);
        const card = cards.get(target);
        if (!card) continue;
        card.near = isIntersecting;
        card.views.forEach(isIntersecting ? draw : release);
      }
    },
    { rootMargin: "800px" }
  );

  function make(article) {
    const data = JSON.parse(article.querySelector("script").textContent);
    const makeOne = data.recording ? makeRecording : makeView;
    const card = { article, near: true, views: data.views.map((own) => makeOne({ ...data, ...own })) };
    cards.set(article, card);
    const place = article.querySelector(".views");
    place.replaceChildren(...card.views.map((view) => view.root));
    place.classList.toggle("many", card.views.length > 1);
    place.style.minHeight = "0";
    showMethod(card);
    if (!data.recording) for (const view of card.views) resized.observe(view.pane);
  }

  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const view = views.get(target);
      if (view.drawn && Math.abs(target.clientWidth - view.drawn) > 1) draw(view);
    }
  });
  const views = new WeakMap();
  let number = 0;

  function makeView(data) {
    const id = `view-${number++}`;
    const view = { data, at: 0, sound: "input", drawn: 0, pictures: null };
    const title = element("h4", { id: `${id}-title` }, isolated(data.method), ": explains ", isolated(data.explained));
    title.append(data.undefined ? ", without an explanation" : `, keeps ${percent(data.kept_area)} of the area`);
    view.levels = element("canvas", { role: "img", "aria-label": alternative(data) });
    view.fog = element("canvas", { class: "fog", "aria-hidden": "true" });
    view.head = element("i", { class: "playhead", "aria-hidden": "true" });
    view.boxes = data.events.map((each, position) =>
      element(
        "button",
        { type: "button", class: "box", "aria-label": `play event ${position + 1}: ${inWords(each, data.start)}`, ...follows(view, position) },
        element("span", { "aria-hidden": "true" }, String(position + 1))
      )
    );
    view.pane = element("div", { class: "picture pane" }, view.levels, view.fog, view.head, ...view.boxes);
    view.pane.addEventListener("click", (event) => {
      if (event.target.closest(".box")) return;
      const { left, width } = view.pane.getBoundingClientRect();
      play(view, (data.seconds * (event.clientX - left)) / width, data.seconds);
    });
    views.set(view.pane, view);
    view.plot = element("div", { class: "frame" }, view.pane);
    view.seek = element("input", {
      type: "range", class: "seek", min: 0, max: data.seconds, step: Math.max(0.01, data.seconds / 1000), value: 0,
      "aria-label": "playhead, in seconds",
    });
    view.seek.addEventListener("input", () => {
      if (player.view === view) play(view, Number(view.seek.value), data.seconds);
      else place(view, Number(view.seek.value));
    });
    view.button = element("button", { type: "button", class: "play", onclick: () => toggle(view) }, "▶ Play");
    view.time = element("span", { class: "time" });
    view.choices = SOUNDS.map((sound) => {
      const input = element("input", { type: "radio", name: `${id}-sound`, value: sound, checked: sound === "input" });
      input.addEventListener("change", () => select(view, sound));
      return input;
    });
    const sounds = element(
      "fieldset", { class: "sounds" }, element("legend", { class: "unseen" }, "What is heard"),
      ...view.choices.map((input) => element("label", {}, input, NAMES[input.value]))
    );
    const controls = element("div", { class: "player" }, view.button, sounds, view.time);
    const left = [element("div", { class: "plot" }, view.plot), view.seek, controls];
    const onkeydown = (event) => press(event, view);
    if (data.alone) view.root = element("div", { role: "group", "aria-label": data.alone, onkeydown }, ...left);
    else {
      const facts = element("div", { class: "facts-of-clip" }, probabilities(data), makeEvents(view));
      view.root = element(
        "section", { class: "view", "aria-labelledby": title.id, onkeydown },
        title, element("div", {}, ...left), facts, makeTexts(data)
      );
    }
    place(view, 0);
    return view;
  }

  function makeTexts(data) {
    const texts = element("div", { class: "sentences" });
    for (const text of [...data.sentences, ...data.notes]) texts.append(element("p", {}, isolated(text)));
    return texts;
  }

  function alternative(data) {
    return `Spectrogram of ${data.name}: ${data.start.toFixed(2)} to ${(data.start + data.seconds).toFixed(2)} s, 0 to ${data.rate / 2} Hz. ` +
      (data.alone ? "" : data.undefined ? "There is no explanation." : `The mask keeps ${percent(data.kept_area)} of the area.`);
  }

  function spanOf(event, start) {
    return `${(start + event.start).toFixed(2)}–${(start + event.end).toFixed(2)} s, ${Math.round(event.low)}–${Math.round(event.high)} Hz`;
  }

  function inWords(event, start) {
    return `${event.label}, ${spanOf(event, start)}: ${event.probability.toFixed(2)}, ${event.without.toFixed(2)} without it`;
  }

  function follows(view, position) {
    const lit = (on) => () => [view.boxes, view.rows].forEach((of) => of && of[position].classList.toggle("lit", on));
    const data = view.data.events[position];
    return {
      onclick: () => play(view, data.start, Math.min(data.end, view.data.seconds)),
      onmouseenter: lit(true), onfocus: lit(true), onmouseleave: lit(false), onblur: lit(false),
    };
  }

  function makeEvents(view) {
    const events = view.data.events;
    view.rows = events.map((event, position) =>
      element(
        "button", { type: "button", ...follows(view, position) },
        `▶ ${position + 1}: ${spanOf(event, view.data.start)}`,
        element(
          "small", {}, isolated(event.label),
          ` ${percent(event.probability)} → ${percent(event.without)} without it, ${percent(event.alone)} with it alone; ` +
          `${percent(event.share)} of the explanation`
        )
      )
    );
    if (!events.length) return "";
    return element("ol", { class: "events", "aria-label": "Events" }, ...view.rows.map((row) => element("li", {}, row)));
  }

  function probabilities(data) {
    const head = element("tr", {}, ...["class", ...SOUNDS].map((text) => element("th", { scope: "col" }, text)));
    const rows = data.classes.map((known) => {
      const row = element("tr", known.label === data.explained ? { class: "explained" } : {});
      row.append(element("th", { scope: "row" }, isolated(known.label)));
      for (const sound of SOUNDS) {
        const bar = element("i");
        bar.style.width = `${100 * known[sound]}%`;
        row.append(element("td", {}, known[sound].toFixed(2), element("span", { class: "share", "aria-hidden": "true" }, bar)));
      }
      return row;
    });
    const caption = element("caption", { class: "unseen" }, "Probabilities of the most probable classes");
    return element("table", { class: "classes-of-clip" }, caption, element("thead", {}, head), element("tbody", {}, ...rows));
  }

  /* -------------------------------------------------------------------------------------------- recordings */

  /* A time as it is typed into a player: 312.5 s (5:12). */
  const clock = (value) => {
    const [whole, two] = [Math.floor(value), (number) => String(number).padStart(2, "0")];
    const minutes = Math.floor(whole / 60);
    return whole < 3600 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
  };
  const CLOCK_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

  /* Of SVG, as this browser calls it: the page names no address. */
  const NAMESPACE = document.createRange().createContextualFragment("<svg></svg>").firstChild.namespaceURI;

  function shape(tag, attributes) {
    const node = document.createElementNS(NAMESPACE, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  function makeRecording(data) {
    const id = `view-${number++}`;
    const view = { data, recording: true, shown: null };
    const title = element("h4", { id: `${id}-title` }, isolated(data.method), ": explains ", isolated(data.explained));
    title.append(`, active (at least ${data.threshold}) in ${data.active} of ${data.windows} windows`);
    view.head = element("i", { class: "playhead", "aria-hidden": "true", hidden: true });
    view.rows = data.events.map((each, position) =>
      element(
        "button", { type: "button", onclick: () => playEvent(view, position) },
        `▶ ${position + 1}: ${clock(each.start)}, ${spanOf(each, 0)}`,
        element(
          "small", {}, isolated(each.label),
          ` ${percent(each.probability)} → ${percent(each.without)} without it, ${percent(each.alone)} with it alone`
        )
      )
    );
    view.stage = element("div", { class: "stage" });
    const list = element("ol", { class: "events", "aria-label": "Events" }, ...view.rows.map((row) => element("li", {}, row)));
    const facts = element("div", { class: "facts-of-clip" }, data.events.length ? list : "");
    const left = data.marks.length - data.events.length;
    if (left) {
      facts.append(element("p", { class: "soft" }, `${left} more of ${data.marks.length} events, those with smaller effects, have no sounds here: events.csv lists all.`));
    }
    view.root = element("section", { class: "view recording", "aria-labelledby": title.id }, title, makeTimeline(view), view.stage, facts, makeTexts(data));
    if (data.events.length) showEvent(view, 0);
    return view;
  }

  function makeTimeline(view) {
    const { seconds: length, line, marks, stretches, threshold, labels, picture, explained, events } = view.data;
    const across = (time) => (1000 * time) / length;
    const plot = shape("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" });
    plot.setAttribute(
      "aria-label",
      `Probability of ${explained} over ${clock(length)}: active in ${stretches.length} stretches, with ${marks.length} events.`
    );
    const bar = (kind, from, to, high, least) =>
      plot.append(shape("rect", { class: kind, x: across(from), width: Math.max(across(to - from), least), y: 100 - 100 * high, height: 100 * high }));
    for (const [from, to] of stretches) bar("active", from, to, 1, 0.5);
    for (const [from, to, effect] of marks) bar("event", from, to, Math.max(effect, 0), 2);
    const points = line.map((value, step) => `${(1000 * (step + 0.5)) / line.length},${100 - value / 10}`);
    plot.append(shape("polyline", { class: "line", points: points.join(" ") }));
    plot.append(shape("line", { class: "threshold", x1: 0, x2: 1000, y1: 100 - 100 * threshold, y2: 100 - 100 * threshold }));
    const pane = element("div", { class: "line-pane" }, plot, view.head);
    pane.addEventListener("click", (event) => {
      const { left, width } = pane.getBoundingClientRect();
      const time = (length * (event.clientX - left)) / width;
      const away = events.map((each) => Math.max(each.start - time, time - each.end, 0));
      if (away.length) playEvent(view, away.indexOf(Math.min(...away)));
    });
    const step = CLOCK_STEPS.find((each) => each >= length / 5) || nice(length / 5);
    const times = multiples(step, length).map((time) => {
      const mark = element("span", { class: "tick seconds", "aria-hidden": "true" }, length > 60 ? clock(time) : `${time} s`);
      mark.style.left = `${(100 * time) / length}%`;
      return mark;
    });
    const shares = [0, 0.5, 1].map((share) => {
      const mark = element("span", { class: "tick hertz", "aria-hidden": "true" }, String(share));
      mark.style.bottom = `${100 * share}%`;
      return mark;
    });
    const names = element("ul", { class: "names", "aria-label": "Classes of the rows below the line" });
    names.append(...labels.map((label) => element("li", {}, isolated(label))));
    const classes = element("div", { class: "classes-pane" }, element("img", { src: picture, alt: "" }), names, ...times);
    classes.style.height = `${1.2 * labels.length}rem`;
    const legend = "Line: probability of the class. Shaded: where it is active. Bars: events, as high as what is lost without them; choose one to hear it. Rows: classes that are heard, from 0 (dark) to 1 (bright).";
    pane.append(...shares);
    return element("div", { class: "timeline" }, pane, classes, element("p", { class: "soft" }, legend));
  }

  function showEvent(view, position) {
    if (view.shown) {
      if (view.shown === player.view) stop();
      resized.unobserve(view.shown.pane);
    }
    const each = view.data.events[position];
    const { clip, ...event } = each;
    const own = { ...event, start: event.start - clip.start, end: event.end - clip.start };
    const alone = `event ${position + 1}: ${inWords(each, 0)}`;
    view.shown = makeView({ ...view.data, ...clip, events: [own], alone });
    view.shown.boxes.forEach((box) => box.firstChild.replaceChildren(String(position + 1)));
    view.shown.follow = (at) => {
      view.head.hidden = false;
      view.head.style.left = `${(100 * (clip.start + at)) / view.data.seconds}%`;
    };
    view.stage.replaceChildren(view.shown.root);
    view.rows.forEach((row, place) => (place === position ? row.setAttribute("aria-current", "true") : row.removeAttribute("aria-current")));
    place(view.shown, own.start);
    resized.observe(view.shown.pane);
    draw(view.shown);
  }

  function playEvent(view, position) {
    showEvent(view, position);
    const [{ start, end }] = view.shown.data.events;
    play(view.shown, start, Math.min(end, view.shown.data.seconds));
  }

  /* ---------------------------------------------------------------------------------------------- pictures */

  const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  const hertzOf = (value) => 700 * (10 ** (value / 2595) - 1);
  const isMel = () => chosen("scale") === "mel";

  /* Height of a frequency in the picture, from 0 to 1. */
  function height(hertz, top) {
    return isMel() ? mel(hertz) / mel(top) : hertz / top;
  }

  async function draw(view) {
    if (view.root.hidden) return;
    if (view.recording) return view.shown && draw(view.shown);
    view.pictures = view.pictures || Promise.all([view.data.spectrogram, view.data.mask].map(decoded));
    const [levels, mask] = await view.pictures;
    if (!view.pane.clientWidth) return;
    view.drawn = view.pane.clientWidth;
    paint(view, view.levels, levels);
    if (!view.data.undefined) paint(view, view.fog, mask, getComputedStyle(document.documentElement).getPropertyValue("--fog"));
    drawAxes(view);
  }

  function release(view) {
    if (view.recording) return view.shown && release(view.shown);
    view.levels.width = view.fog.width = 0;
    view.drawn = 0;
    view.pictures = null;
  }

  async function decoded(address) {
    const image = new Image();
    image.src = address;
    await image.decode();
    return image;
  }

  function paint(view, canvas, image, colour) {
    const { seconds: length, rate, extent: [from, to, bottom, top] } = view.data;
    const sharp = Math.min(window.devicePixelRatio || 1, 2);
    const width = (canvas.width = Math.round(view.pane.clientWidth * sharp));
    const rows = (canvas.height = Math.round(view.pane.clientHeight * sharp));
    const context = canvas.getContext("2d");
    const left = (image.width * (0 - from)) / (to - from);
    const shown = (image.width * Math.max(length, 0.001)) / (to - from);
    const line = (hertz) => (image.height * (top - hertz)) / (top - bottom);
    const strips = isMel() ? rows : 1;
    for (let strip = 0; strip < strips; strip++) {
      const ends = [strip, strip + 1].map((edge) => 1 - edge / strips);
      const [high, low] = ends.map((share) => (isMel() ? hertzOf(share * mel(rate / 2)) : (share * rate) / 2));
      const y = Math.min(line(high), image.height - 1);
      const tall = Math.max(Math.min(line(low), image.height) - y, 0.5);
      context.drawImage(image, left, y, shown, tall, 0, (strip * rows) / strips, width, rows / strips);
    }
    if (colour) {
      context.globalCompositeOperation = "source-in";
      context.fillStyle = colour;
      context.fillRect(0, 0, width, rows);
    }
  }

  function drawAxes(view) {
    const { seconds: length, rate, events, start } = view.data;
    const top = rate / 2;
    const marks = [];
    const step = nice(top / 5);
    const candidates = isMel() ? MEL_TICKS.filter((hertz) => hertz <= top) : multiples(step, top);
    let last = -1;
    for (const hertz of candidates) {
      const share = height(hertz, top);
      if (last >= 0 && (share - last) * view.pane.clientHeight < 14) continue;
      last = share;
      const mark = element("span", { class: "tick hertz", "aria-hidden": "true" }, hertz >= 1000 ? `${hertz / 1000} kHz` : `${hertz} Hz`);
      mark.style.bottom = `${100 * share}%`;
      marks.push(mark);
    }
    for (const time of multiples(nice(length / 6), start + length)) {
      if (time < start) continue;
      const mark = element("span", { class: "tick seconds", "aria-hidden": "true" }, `${Number(time.toPrecision(6))} s`);
      mark.style.left = `${(100 * (time - start)) / length}%`;
      marks.push(mark);
    }
    if (view.axes) view.axes.remove();
    view.axes = element("div", { class: "axes" }, ...marks);
    view.plot.append(view.axes);
    view.boxes.forEach((box, position) => {
      const event = events[position];
      box.style.left = `${(100 * event.start) / length}%`;
      box.style.width = `${(100 * (Math.min(event.end, length) - event.start)) / length}%`;
      box.style.bottom = `${100 * height(event.low, top)}%`;
      box.style.top = `${100 * (1 - height(Math.min(event.high, top), top))}%`;
    });
  }

  function nice(step) {
    const power = 10 ** Math.floor(Math.log10(step));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= step * 0.999);
  }

  function multiples(step, top) {
    return Array.from({ length: Math.floor(top / step + 1e-6) + 1 }, (_, k) => k * step);
  }

  /* ----------------------------------------------------------------------------------------------- players */

  const player = { context: null, view: null, nodes: [], gains: [], began: 0, from: 0, until: 0, call: 0 };
  const recent = [];

  function place(view, at) {
    const { seconds: length, start } = view.data;
    view.at = Math.min(Math.max(at, 0), length);
    const [here, end] = [view.at, length].map((time) => seconds(start + time, start + length));
    view.seek.value = view.at;
    view.seek.setAttribute("aria-valuetext", `${here} of ${end} s`);
    view.head.style.left = `${(100 * view.at) / length}%`;
    view.time.textContent = `${here} / ${end} s`;
    if (view.follow) view.follow(view.at);
  }

  const plays = (view) => player.view !== null && (view === player.view || view.shown === player.view);

  function label(view, playing) {
    view.button.textContent = playing ? "❚❚ Pause" : "▶ Play";
  }

  function toggle(view) {
    if (player.view === view) stop();
    else play(view, view.at >= view.data.seconds - 0.005 ? 0 : view.at, view.data.seconds);
  }

  function stop() {
    player.call++;
    if (!player.view) return;
    for (const node of player.nodes) node.stop();
    place(player.view, now());
    label(player.view, false);
    player.view = null;
    player.nodes = [];
  }

  function now() {
    const passed = player.nodes.length ? Math.max(0, player.context.currentTime - player.began) : 0;
    return Math.min(player.from + passed, player.until);
  }

  /* Play from one time to another, both in seconds. All three sounds run together, and one of them is loud. */
  async function play(view, from, until) {
    stop();
    const call = ++player.call;
    Object.assign(player, { view, from, until, nodes: [] });
    place(view, from);
    label(view, true);
    let buffers;
    try {
      player.context = player.context || new AudioContext();
      [buffers] = await Promise.all([buffersOf(view), player.context.resume()]);
    } catch (error) {
      forget(view);
      if (call === player.call) stop();
      view.time.textContent = `This browser cannot play the sound (${error.message}).`;
      return;
    }
    if (call !== player.call) return;
    player.began = player.context.currentTime + 0.01;
    player.gains = buffers.map(() => player.context.createGain());
    player.nodes = buffers.map(({ buffer, delay }, position) => {
      const node = player.context.createBufferSource();
      node.buffer = buffer;
      node.connect(player.gains[position]).connect(player.context.destination);
      player.gains[position].gain.value = SOUNDS[position] === view.sound ? 1 : 0;
      node.start(player.began, from + delay, Math.max(until - from, 0));
      return node;
    });
    requestAnimationFrame(function follow() {
      if (call !== player.call) return;
      place(view, now());
      if (now() >= until) stop();
      else requestAnimationFrame(follow);
    });
  }

  function select(view, sound) {
    view.sound = sound;
    view.choices.forEach((input) => (input.checked = input.value === sound));
    if (player.view !== view || !player.nodes.length) return;
    player.gains.forEach((gain, position) => {
      gain.gain.setTargetAtTime(SOUNDS[position] === sound ? 1 : 0, player.context.currentTime, 0.005);
    });
  }

  function forget(view) {
    const position = recent.indexOf(view);
    if (position >= 0) recent.splice(position, 1);
    return position >= 0;
  }

  function buffersOf(view) {
    if (!forget(view)) view.buffers = Promise.all(SOUNDS.map((sound) => bufferOf(view.data[sound], view.data)));
    recent.push(view);
    if (recent.length > MOST_DECODED) recent.shift().buffers = null;
    return view.buffers;
  }

  async function bufferOf(address, { seconds: length, rate }) {
    const bytes = Uint8Array.from(atob(address.slice(address.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
    const buffer = await player.context.decodeAudioData(bytes.buffer);
    const delay = MP3_DELAY / (MP3_RATES.find((known) => known >= rate) || MP3_RATES.at(-1));
    return { buffer, delay: buffer.duration - length > 0.9 * delay ? delay : 0 };
  }

  function press(event, view) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === " " && !target.closest("button") && target.type !== "radio") toggle(view);
    else if (["1", "2", "3"].includes(key)) select(view, SOUNDS[key - 1]);
    else return;
    event.preventDefault();
  }

  choose();
  for (const article of articles) watched.observe(article);
})();
