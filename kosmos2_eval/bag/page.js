"use strict";

const STEP = 200; // rows that are drawn at a time
const { columns, rows, tiles: rowOf } = JSON.parse(document.getElementById("rows").textContent);
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const at = Object.fromEntries(columns.map((name, place) => [name, place]));
const filters = Object.fromEntries(["words", "kind", "camera", "verdict"].map((id) => [id, document.getElementById(id)]));
const tiles = [...document.querySelectorAll(".tile")];
const table = document.getElementById("queries");
let order = { column: 0, up: true };
let drawn = STEP;

for (const image of document.querySelectorAll("image[data-frame]")) {
  image.setAttribute("href", pictures[image.dataset.frame] || "");
}

function wanted(row) {
  const words = filters.words.value.trim().toLowerCase();
  return (
    (!words || row[at.phrase].toLowerCase().includes(words)) &&
    (!filters.kind.value || row[at.kind] === filters.kind.value) &&
    (!filters.camera.value || row[at.camera] === filters.camera.value) &&
    (!filters.verdict.value || row[at.verdict] === filters.verdict.value)
  );
}

function compare(a, b) {
  const [x, y] = [a[order.column], b[order.column]];
  if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last
  const less = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  return order.up ? less : -less;
}

function drawTable() {
  const shown = rows.filter(wanted).sort(compare);
  const head = columns.map((name, place) => {
    const cell = document.createElement("th");
    cell.textContent = name;
    if (place === order.column) cell.dataset.order = order.up ? "up" : "down";
    cell.onclick = () => {
      order = { column: place, up: place === order.column ? !order.up : true };
      drawTable();
    };
    return cell;
  });
  const body = document.createElement("tbody");
  for (const row of shown.slice(0, drawn)) {
    const line = body.insertRow();
    row.forEach((value, place) => {
      const cell = line.insertCell();
      cell.textContent = value === null ? "" : value;
      if (place === at.verdict) cell.className = value;
    });
  }
  const top = document.createElement("thead");
  top.insertRow().append(...head);
  table.replaceChildren(top, body);
  document.getElementById("count").textContent = `${shown.length} of ${rows.length}`;
}

function choose() {
  drawn = STEP;
  for (const tile of tiles) {
    tile.hidden = !wanted(rowOf[tile.dataset.place]);
  }
  for (const group of document.querySelectorAll(".tiles")) {
    const empty = ![...group.children].some((tile) => !tile.hidden);
    group.hidden = group.previousElementSibling.hidden = empty;
  }
  drawTable();
}

for (const filter of Object.values(filters)) filter.addEventListener("input", choose);
for (const tile of tiles) tile.onclick = () => tile.classList.toggle("large");
document.querySelector(".scroll").addEventListener("scroll", ({ target }) => {
  if (drawn < rows.length && target.scrollTop + target.clientHeight > target.scrollHeight - 400) {
    drawn += STEP;
    drawTable();
  }
});
choose();
