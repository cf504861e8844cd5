"use strict";

const ROWS_PER_PAGE = 200;
const { columns, rows, tiles: rowOfTile } = JSON.parse(document.getElementById("rows").textContent);
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const indexOf = Object.fromEntries(columns.map((name, index) => [name, index]));
const filters = Object.fromEntries(["words", "kind", "camera", "verdict"].map((id) => [id, document.getElementById(id)]));
const tiles = [...document.querySelectorAll(".tile")];
const table = document.getElementById("queries");
const more = document.getElementById("more");
const body = document.createElement("tbody");
const heads = columns.map(makeHead);
let order = { column: 0, up: true };
let rowLimit = ROWS_PER_PAGE;

function matches(row) {
  const words = filters.words.value.trim().toLowerCase();
  return (
    (!words || row[indexOf.phrase].toLowerCase().includes(words)) &&
    (!filters.kind.value || row[indexOf.kind] === filters.kind.value) &&
    (!filters.camera.value || row[indexOf.camera] === filters.camera.value) &&
    (!filters.verdict.value || row[indexOf.verdict] === filters.verdict.value)
  );
}

function compare(a, b) {
  const [x, y] = [a[order.column], b[order.column]];
  if (x === null || y === null) return (x === null) - (y === null); // unknown values come last
  const difference = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  return order.up ? difference : -difference;
}

// A column head is a button, so that it can be reached and pressed with the keyboard.
function makeHead(name, column) {
  const head = document.createElement("th");
  const button = document.createElement("button");
  head.scope = "col";
  button.type = "button";
  button.textContent = name;
  button.onclick = () => {
    order = { column, up: column === order.column ? !order.up : true };
    drawTable();
  };
  head.append(button);
  return head;
}

function drawTable() {
  const shown = rows.filter(matches).sort(compare);
  heads.forEach((head, column) => {
    if (column === order.column) head.setAttribute("aria-sort", order.up ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
  body.replaceChildren();
  for (const row of shown.slice(0, rowLimit)) {
    const line = body.insertRow();
    row.forEach((value, column) => {
      const cell = line.insertCell();
      cell.textContent = value === null ? "" : value;
      if (column === indexOf.verdict) cell.className = value;
    });
  }
  more.hidden = shown.length <= rowLimit;
  document.getElementById("count").textContent = `${shown.length} of ${rows.length}`;
}

function applyFilters() {
  rowLimit = ROWS_PER_PAGE;
  for (const tile of tiles) tile.hidden = !matches(rowOfTile[tile.dataset.index]);
  for (const group of document.querySelectorAll(".tiles")) {
    const empty = [...group.children].every((tile) => tile.hidden);
    group.hidden = group.previousElementSibling.hidden = empty;
  }
  drawTable();
}

for (const image of document.querySelectorAll("image[data-frame]")) {
  image.setAttribute("href", pictures[image.dataset.frame] || "");
}
for (const filter of Object.values(filters)) filter.addEventListener("input", applyFilters);
for (const tile of tiles) {
  const button = tile.querySelector("button");
  button.onclick = () => button.setAttribute("aria-pressed", tile.classList.toggle("large"));
}
more.onclick = () => {
  rowLimit += ROWS_PER_PAGE;
  drawTable();
};
const head = document.createElement("thead");
head.insertRow().append(...heads);
table.append(head, body);
applyFilters();
