"use strict";
// Sortable tables: a click or Enter on a heading sorts by it, another one turns the order round.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((heading, column) => {
    const sort = () => {
      const rises = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", rises ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.key;
      const compare = (a, b) => {
        const x = Number(key(a)), y = Number(key(b));
        return Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
      };
      [...body.rows].sort((a, b) => (rises ? 1 : -1) * compare(a, b))
        .forEach((row) => body.append(row));
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
// Points say what they are; an entry of a legend hides and shows its series.
const tip = document.getElementById("tip");
for (const point of document.querySelectorAll("[data-tip]")) {
  point.addEventListener("pointerenter", (event) => {
    tip.textContent = point.dataset.tip;
    tip.style.display = "block";
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - 220)}px`;
    tip.style.top = `${event.clientY + 12}px`;
  });
  point.addEventListener("pointerleave", () => { tip.style.display = "none"; });
}
for (const entry of document.querySelectorAll('[id*="--legend--"]')) {
  entry.addEventListener("click", () => {
    const [figure, , series] = entry.id.split("--");
    entry.classList.toggle("faded");
    for (const part of document.querySelectorAll(`[id^="${figure}--${series}--"]`)) {
      part.classList.toggle("hidden");
    }
  });
}
