"use strict";
/* Sorting and tabs. Without this script every table and every part is there, one below the other. */
function sortBy(header) {
  const table = header.closest("table");
  const index = Array.prototype.indexOf.call(header.parentNode.children, header);
  const down = header.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.querySelectorAll("tbody[data-sorted]").forEach((body) => {
    const rows = Array.from(body.rows);
    const value = (row) => {
      const cell = row.cells[index];
      const given = cell ? cell.getAttribute("data-v") : null;
      return given === null ? (cell ? cell.textContent : "") : given === "" ? NaN : Number(given);
    };
    rows.sort((a, b) => {
      const x = value(a), y = value(b);
      if (typeof x === "string" || typeof y === "string") return String(x).localeCompare(String(y)) * (down ? -1 : 1);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return down ? y - x : x - y;
    });
    rows.forEach((row) => body.appendChild(row));
  });
}
document.querySelectorAll("table.sortable thead th").forEach((header) => {
  const button = document.createElement("button");
  button.type = "button";
  while (header.firstChild) button.appendChild(header.firstChild);
  if (!button.textContent) return;
  header.appendChild(button);
  button.addEventListener("click", () => sortBy(header));
});
document.querySelectorAll("[data-tabs]").forEach((box) => {
  const parts = Array.from(box.children).filter((part) => part.hasAttribute("data-tab"));
  if (parts.length < 2) return;
  const bar = document.createElement("div");
  bar.className = "tabs";
  bar.setAttribute("role", "tablist");
  const buttons = parts.map((part) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "tab");
    button.textContent = part.getAttribute("data-tab");
    button.addEventListener("click", () => choose(part));
    bar.appendChild(button);
    return button;
  });
  function choose(chosen) {
    parts.forEach((part, i) => {
      part.hidden = part !== chosen;
      buttons[i].setAttribute("aria-selected", String(part === chosen));
    });
  }
  box.insertBefore(bar, parts[0]);
  choose(parts[0]);
});
