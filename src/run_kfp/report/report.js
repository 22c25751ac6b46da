"use strict";
// Turns each log, which the page holds as text, into a list with search and filter. Only what is near the visible part
// is drawn: a log of 20,000 lines is some 100 elements until it is scrolled.
(() => {
  const CHUNK = 200; // lines that are drawn or taken away at once
  const LINE_HEIGHT = 20; // a guess, in pixels, for what has not been drawn yet
  const NEAR = "800px 0px";
  const FEW = 20; // lines that need no box of a fixed height
  const RECORD = /^(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d(?:\.\d+)?Z)) ([OE]) (.*)$/s;
  const KINDS = ["info", "warning", "error"];
  const marks = JSON.parse(document.getElementById("logs").textContent);

  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  const counted = (count) => count.toLocaleString("en");

  function read(raw, mark) {
    const lines = raw.textContent.split("\n").map((whole, index) => {
      const [, time = "", clock = "", stream = "O", text = whole] = RECORD.exec(whole) ?? [];
      const gap = index === mark.gap;
      const number = mark.gap !== null && index > mark.gap ? index + mark.leftOut : index + 1;
      return { index, number: gap ? "" : number, time, clock, stream, text, gap, kind: "info" };
    });
    for (const index of mark.warnings) lines[index].kind = "warning";
    for (const index of mark.errors) lines[index].kind = "error";
    return lines;
  }

  function highlighted(text, pattern) {
    const parts = [];
    let end = 0;
    for (const match of pattern ? text.matchAll(pattern) : []) {
      parts.push(text.slice(end, match.index), make("mark", { textContent: match[0] }));
      end = match.index + match[0].length;
    }
    parts.push(text.slice(end));
    return parts;
  }

  function view(details) {
    if (details.classList.contains("viewed")) return;
    details.classList.add("viewed");
    const raw = details.querySelector(".raw");
    const lines = read(raw, marks[details.dataset.step]);

    const search = make("input", { type: "search", placeholder: "Search this log (key /)", autocomplete: "off", spellcheck: false });
    search.setAttribute("aria-label", `Search the log of ${details.dataset.name}`);
    search.setAttribute("aria-keyshortcuts", "/");
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault(); // what was searched for stays
      list.focus({ preventScroll: true });
    });
    const boxes = KINDS.toReversed().map((kind) => {
      const count = lines.reduce((sum, line) => sum + (line.kind === kind && !line.gap), 0);
      const box = make("input", { type: "checkbox", checked: true, value: kind, disabled: !count });
      const words = { error: "Errors", warning: "Warnings", info: "Others" }[kind];
      return [box, make("label", {}, box, `${words} (${counted(count)})`)];
    });
    const said = make("output");
    const tools = make(
      "div",
      { className: "tools" },
      search,
      make("fieldset", {}, make("legend", { textContent: "Severity" }), ...boxes.map(([, label]) => label)),
      said,
    );
    tools.setAttribute("role", "search");
    const list = make("div", { className: "lines", tabIndex: 0 });
    list.setAttribute("role", "region");
    list.setAttribute("aria-label", raw.getAttribute("aria-label"));
    details.append(tools, list);

    let shown = lines;
    let pattern = null;
    let here = -1;

    function row(line) {
      const filtered = shown !== lines;
      const number = make(filtered ? "button" : "span", { className: "number", textContent: line.number });
      if (filtered) {
        number.type = "button";
        number.title = "Show among its neighbours";
        number.addEventListener("click", () => reset(line.index));
      }
      const classes = ["row", line.kind, line.gap && "gap", line.index === here && "here"].filter(Boolean);
      return make(
        "div",
        { className: classes.join(" ") },
        number,
        make("span", { className: "clock", textContent: line.clock, title: line.time }),
        make("span", { className: "stream", textContent: line.stream === "E" ? "err" : "", title: line.stream === "E" ? "stderr" : "" }),
        make("span", { className: "text" }, ...highlighted(line.text, pattern)),
      );
    }

    function fill(chunk) {
      if (chunk.firstChild) return;
      const start = Number(chunk.dataset.start);
      chunk.append(...shown.slice(start, start + CHUNK).map(row));
      chunk.style.height = "";
    }

    function empty(chunk) {
      if (!chunk.firstChild) return;
      chunk.style.height = `${chunk.getBoundingClientRect().height}px`;
      chunk.replaceChildren();
    }

    const near = new IntersectionObserver(
      (entries) => entries.forEach((entry) => (entry.isIntersecting ? fill : empty)(entry.target)),
      { root: list, rootMargin: NEAR },
    );

    function draw() {
      near.disconnect();
      const chunks = [];
      for (let start = 0; start < shown.length; start += CHUNK) {
        const chunk = make("div", { className: "chunk" });
        chunk.dataset.start = start;
        chunk.style.height = `${Math.min(CHUNK, shown.length - start) * LINE_HEIGHT}px`;
        chunks.push(chunk);
      }
      list.replaceChildren(...chunks);
      list.classList.toggle("few", shown.length <= FEW);
      list.scrollTop = 0;
      if (chunks.length) fill(chunks[0]);
      chunks.forEach((chunk) => near.observe(chunk));
    }

    function refresh() {
      const kinds = new Set(boxes.filter(([box]) => box.checked || box.disabled).map(([box]) => box.value));
      const wanted = search.value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      pattern = wanted ? new RegExp(wanted, "gi") : null;
      const all = kinds.size === KINDS.length && !wanted;
      shown = all
        ? lines
        : lines.filter((line) => !line.gap && kinds.has(line.kind) && (!wanted || line.text.search(pattern) >= 0));
      const total = counted(lines.length - (marks[details.dataset.step].gap !== null));
      said.textContent = all ? "" : shown.length ? `${counted(shown.length)} of ${total} lines` : `none of ${total} lines`;
      draw();
    }

    function reset(index) {
      search.value = "";
      for (const [box] of boxes) box.checked = true;
      here = index;
      refresh();
      reveal(index);
      list.focus({ preventScroll: true });
    }

    function reveal(index) {
      const chunk = list.children[Math.floor(index / CHUNK)];
      fill(chunk);
      const line = chunk.children[index % CHUNK];
      // Only the list is scrolled, not the page.
      list.scrollTop += line.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 2;
    }

    search.addEventListener("input", () => { here = -1; refresh(); });
    boxes.forEach(([box]) => box.addEventListener("change", refresh));
    refresh();
    // A failed step's log is open from the start: what it said last is what one looks for.
    if (details.hasAttribute("data-at-end")) reveal(lines.length - 1);
  }

  for (const details of document.querySelectorAll("details.log")) {
    if (details.open) view(details);
    else details.addEventListener("toggle", () => view(details), { once: true });
  }
  // The search of the log that one looks at: the first open one that is in sight, else the next, else a closed one.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) return;
    const logs = [...document.querySelectorAll("details.log")];
    const open = logs.filter((details) => details.open);
    const below = (details) => details.getBoundingClientRect().bottom > 0;
    const details = open.find(below) ?? open.at(-1) ?? logs.find(below) ?? logs[0];
    if (!details) return;
    event.preventDefault();
    details.open = true;
    view(details);
    details.querySelector("input[type=search]").focus();
  });
  for (const graph of document.querySelectorAll(".graph")) {
    // The first step stands in the middle; a failed one is in sight.
    graph.scrollLeft = (graph.scrollWidth - graph.clientWidth) / 2;
    const failed = graph.querySelector(".box.bad")?.getBoundingClientRect();
    const frame = graph.getBoundingClientRect();
    if (failed) graph.scrollBy(
      failed.right > frame.right || failed.left < frame.left ? (failed.left + failed.right - frame.left - frame.right) / 2 : 0,
      failed.bottom > frame.bottom ? (failed.top + failed.bottom - frame.top - frame.bottom) / 2 : 0,
    );
  }
  for (const time of document.querySelectorAll("time")) {
    time.title = `${new Date(time.dateTime).toLocaleString([], { timeZoneName: "short" })} here`;
  }
  performance.mark("report-ready");
})();
