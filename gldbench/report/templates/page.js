"use strict";
// Makes the tables of the page sortable: the headings become buttons. Lines are sorted inside their group.
(() => {
  const number = (text) => {
    const found = /^[+-]?\d[\d,]*(\.\d+)?/.exec(text.replace("−", "-"));
    return found ? Number(found[0].replaceAll(",", "")) : null;
  };
  const key = (line, column) => {
    const cell = line.cells[column];
    const text = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent).join("").trim();
    return { text, number: number(text) };
  };
  function compare(x, y, down) {
    const empty = (value) => value.text === "–" || value.text === "";
    if (empty(x) || empty(y)) return empty(x) - empty(y);
    const order = x.number !== null && y.number !== null ? x.number - y.number : x.text.localeCompare(y.text, "en");
    return down ? -order : order;
  }
  function sort(table, original, column, direction) {
    const body = table.tBodies[0], groups = [];
    for (const line of original) {
      if (line.classList.contains("group") || !groups.length) groups.push({ head: null, lines: [] });
      if (line.classList.contains("group")) groups.at(-1).head = line;
      else groups.at(-1).lines.push(line);
    }
    for (const { head, lines } of groups) {
      if (direction !== "none") {
        lines.sort((x, y) => compare(key(x, column), key(y, column), direction === "descending"));
      }
      if (head) body.append(head);
      body.append(...lines);
    }
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const original = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort the lines of each group";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const lines = original.filter((line) => !line.classList.contains("group"));
        const numbers = lines.some((line) => key(line, column).number !== null);
        const cycle = numbers ? ["none", "descending", "ascending"] : ["none", "ascending", "descending"];
        const direction = cycle[(cycle.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of heads) other.setAttribute("aria-sort", other === head ? direction : "none");
        sort(table, original, column, direction);
      });
    });
  }
  // On paper nothing can be opened.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      part.dataset.closed = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const part of document.querySelectorAll("details[data-closed]")) {
      part.open = false;
      delete part.dataset.closed;
    }
  });
})();
