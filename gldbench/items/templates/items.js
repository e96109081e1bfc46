"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), space = byId("space"), shownItem = byId("item"), search = byId("search");
  const HEIGHT = 46;  // px of a row of the list, as in items.css
  const NO_ANSWER = ["no_answer", "truncated"];
  const [TASK, VARIANT, ID, PROMPT, GOLD, ANSWERS] = [0, 1, 2, 3, 4, 5];
  const [OUTPUT, NOTE, HEADLINE, MARKS] = [0, 1, 2, 3];
  const [LABEL, VALUE, STATUS, HOW, FOUND, REASON] = [0, 1, 2, 3, 4, 5];
  const haystacks = new Array(data.items.length);
  let shown = [], selected = 0, a = 0, b = data.sides.length > 1 ? 1 : -1;

  const headline = (answer) => (answer && answer[HEADLINE] >= 0 ? answer[MARKS][answer[HEADLINE]] : null);
  const right = (answer) => { const mark = headline(answer); return mark && mark[VALUE] !== null ? mark[VALUE] >= 1 : null; };
  const answered = (answer) => { const mark = headline(answer); return !mark || !NO_ANSWER.includes(mark[STATUS]); };
  const score = (answer) => { const mark = headline(answer); return mark ? mark[VALUE] : null; };
  const sides = () => (b < 0 ? [a] : [a, b]);

  const ONE = {
    "all": ["all items", () => true],
    "wrong": ["wrong", (x) => right(x) === false],
    "right": ["right", (x) => right(x) === true],
    "no-answer": ["no answer found", (x) => !answered(x)],
    "graders": ["graders differ", (x) => new Set(x[MARKS].filter((m) => m[VALUE] !== null && !data.labels[m[LABEL]][3]).map((m) => m[VALUE])).size > 1],
  };
  const TWO = {
    "all": ["all items", () => true],
    "right-wrong": ["A right, B wrong", (x, y) => right(x) === true && right(y) === false],
    "wrong-right": ["A wrong, B right", (x, y) => right(x) === false && right(y) === true],
    "differ": ["scores differ", (x, y) => score(x) !== null && score(y) !== null && score(x) !== score(y)],
    "both-wrong": ["both wrong", (x, y) => right(x) === false && right(y) === false],
    "both-right": ["both right", (x, y) => right(x) === true && right(y) === true],
    "wrong": ["A or B wrong", (x, y) => right(x) === false || right(y) === false],
    "no-answer": ["no answer found in A or B", (x, y) => !answered(x) || !answered(y)],
    "graders": ["graders differ on A or B", (x, y) => [x, y].some((z) => z && ONE.graders[1](z))],
  };

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    if (name) made.className = name;
    return made;
  }
  function options(select, pairs, chosen) {
    select.replaceChildren(...pairs.map(([value, text]) => {
      const made = element("option", text);
      made.value = value;
      made.selected = String(value) === String(chosen);
      return made;
    }));
  }
  function haystack(index) {
    if (haystacks[index] === undefined) {
      const item = data.items[index];
      const outputs = item[ANSWERS].filter((x) => x).map((x) => x[OUTPUT] || "");
      haystacks[index] = [item[TASK], item[ID], item[PROMPT], item[GOLD], ...outputs].join("\n").toLowerCase();
    }
    return haystacks[index];
  }

  function choose() {
    const words = search.value.trim().toLowerCase(), task = byId("task").value;
    const keep = (b < 0 ? ONE : TWO)[byId("filter").value][1];
    const before = shown[selected];
    shown = [];
    data.items.forEach((item, index) => {
      const own = sides().map((side) => item[ANSWERS][side]);
      if (task && item[TASK] !== task) return;
      if (own.every((answer) => !answer) || (b < 0 && !own[0])) return;
      if (!keep(...own) || (words && !haystack(index).includes(words))) return;
      shown.push(index);
    });
    selected = Math.max(0, shown.indexOf(before));
    const n = (count) => count.toLocaleString("en");
    byId("count").textContent = `${n(shown.length)} of ${n(data.items.length)} items`;
    space.style.height = `${shown.length * HEIGHT}px`;
    show();
  }

  function verdict(answer) {
    const found = right(answer);
    if (!answer || found === null) return element("span", "–", "none");
    return element("span", found ? "✓" : answered(answer) ? "✗" : "∅", found ? "right" : "wrong");
  }
  function spoken(answer) {
    const found = right(answer);
    return !answer ? "not asked" : found === null ? "not scored" : found ? "right" : answered(answer) ? "wrong" : "no answer";
  }
  function row(place) {
    const index = shown[place], item = data.items[index], made = element("div", null, "row");
    made.id = `row-${place}`;
    made.style.top = `${place * HEIGHT}px`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", String(place === selected));
    made.setAttribute("aria-setsize", String(shown.length));
    made.setAttribute("aria-posinset", String(place + 1));
    const verdicts = element("span", null, "verdicts");
    verdicts.setAttribute("role", "img");
    verdicts.setAttribute("aria-label", sides().map((side) => spoken(item[ANSWERS][side])).join(", "));
    verdicts.append(...sides().flatMap((side) => [verdict(item[ANSWERS][side]), " "]));
    made.append(element("span", item[ID], "name"), verdicts, element("span", place_of(item), "task"));
    made.addEventListener("click", () => go(place));
    return made;
  }
  const place_of = (item) => (item[VARIANT] && item[VARIANT] !== "default" ? `${item[TASK]}, ${item[VARIANT]}` : item[TASK]);

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 5);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 5);
    const rows = [];
    for (let place = first; place < last; place += 1) rows.push(row(place));
    space.replaceChildren(...rows);
    if (shown.length) list.setAttribute("aria-activedescendant", `row-${selected}`);
    else list.removeAttribute("aria-activedescendant");
  }
  function text(content) {
    const made = element("pre"), words = search.value.trim().toLowerCase(), lower = content.toLowerCase();
    let from = 0;
    if (words && lower.length === content.length) {
      for (let at = lower.indexOf(words); at >= 0; at = lower.indexOf(words, from)) {
        made.append(content.slice(from, at), element("mark", content.slice(at, at + words.length)));
        from = at + words.length;
      }
    }
    made.append(content.slice(from));
    return made;
  }
  function marks(answer) {
    const table = element("table", null, "marks"), head = element("tr"), body = element("tbody");
    head.append(...["grader, filter, metric", "score, status", "found", "why"].map((name) => element("th", name)));
    for (const [place, mark] of answer[MARKS].entries()) {
      const line = element("tr", null, place === answer[HEADLINE] ? "headline" : "");
      const [grader, filter, metric, part] = data.labels[mark[LABEL]];
      const value = mark[VALUE] === null ? "no score" : String(Math.round(mark[VALUE] * 1e4) / 1e4);
      line.append(
        element("td", `${grader}, ${filter}, ${metric}${part ? `, ${part}` : ""}`),
        element("td", `${value}, ${mark[STATUS].replace("_", " ")}`, (mark[VALUE] || 0) >= 1 ? "right" : "wrong"),
        element("td", [mark[FOUND], mark[HOW] && `(${mark[HOW].replace("_", " ")})`].filter(Boolean).join(" ")),
        element("td", mark[REASON]),
      );
      body.append(line);
    }
    const top = element("thead");
    top.append(head);
    table.append(top, body);
    return table;
  }
  function answerSection(side, letter) {
    const made = element("section"), item = data.items[shown[selected]], answer = item[ANSWERS][side];
    const title = element("h3", `${letter ? `${letter}: ` : "Response of "}${data.sides[side]}: `);
    title.append(element("span", spoken(answer), right(answer) === null ? "none" : right(answer) ? "right" : "wrong"));
    made.append(title);
    if (!answer) return made;
    made.append(answer[OUTPUT] === null ? element("p", answer[NOTE], "none") : text(answer[OUTPUT] || ""));
    if (answer[OUTPUT] === "") made.append(element("p", "(the response is empty)", "none"));
    made.append(marks(answer));
    return made;
  }
  function show() {
    if (!shown.length) {
      shownItem.replaceChildren(element("p", "No item meets these conditions.", "empty"));
      draw();
      return;
    }
    const item = data.items[shown[selected]];
    const answers = element("div", null, "answers");
    answers.append(...sides().map((side, place) => answerSection(side, b < 0 ? "" : "AB"[place])));
    shownItem.replaceChildren(
      element("h2", item[ID]), element("div", place_of(item), "none"),
      element("h3", "Gold answer"), text(item[GOLD]), answers, element("h3", "Prompt"), text(item[PROMPT]),
    );
    shownItem.scrollTop = 0;
    const top = selected * HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
    draw();
  }
  function go(place) {
    selected = Math.min(Math.max(place, 0), shown.length - 1);
    if (shown.length) show();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target === search, choosing = event.target.tagName === "SELECT";
    if (event.key === "Escape" && typing) { search.blur(); list.focus(); return; }
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); search.select(); return; }
    if (choosing || (typing && !["ArrowDown", "ArrowUp"].includes(event.key))) return;
    const page = Math.max(1, Math.floor(list.clientHeight / HEIGHT) - 1);
    const inItem = event.target === shownItem;  // there, the arrows scroll the text
    const steps = { j: 1, k: -1, ...(inItem ? {} : { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }) };
    const ends = inItem ? {} : { Home: 0, End: shown.length - 1 };
    if (event.key in steps) go(selected + steps[event.key]);
    else if (event.key in ends) go(ends[event.key]);
    else return;
    event.preventDefault();
  });
  function filters() {
    const known = Object.entries(b < 0 ? ONE : TWO).map(([value, [name]]) => [value, name]);
    const before = byId("filter").value;
    options(byId("filter"), known, known.some(([value]) => value === before) ? before : "all");
  }
  function pickSides() {
    a = Number(byId("side-a").value);
    b = Number(byId("side-b").value);
    filters();
    choose();
  }
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 120); });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("task").addEventListener("change", choose);
  byId("filter").addEventListener("change", choose);
  byId("side-a").addEventListener("change", pickSides);
  byId("side-b").addEventListener("change", pickSides);
  list.addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", draw);

  const names = data.sides.map((name, place) => [place, name]);
  options(byId("side-a"), names, a);
  options(byId("side-b"), [[-1, "none"], ...names], b);
  for (const label of document.querySelectorAll("label.side")) label.hidden = data.sides.length < 2;
  const tasks = [...new Set(data.items.map((item) => item[TASK]))];
  options(byId("task"), [["", "all tasks"], ...tasks.map((name) => [name, name])], "");
  filters();
  choose();
})();
