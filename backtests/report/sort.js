"use strict";
// Sorting of tables: a button in each heading, by number where the cells carry one.
// First press ascending, then descending, then the order as written.
document.querySelectorAll("table[data-sortable]").forEach((table) => {
  const body = table.tBodies[0];
  const written = Array.from(body.rows);
  const told = document.getElementById("told");
  const heads = Array.from(table.tHead.rows[0].cells);
  const words = new Intl.Collator("en", { numeric: true });
  if (written.length < 2) return;
  const sort = (j, way) => {
    const key = (row) => {
      const cell = row.cells[j];
      return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
    };
    const text = (row) => row.cells[j].textContent.trim();
    const numeric = written.some((row) => key(row) !== null);
    const sign = way === "descending" ? -1 : 1;
    const rows = written.slice();
    if (way !== "none") {
      rows.sort((a, b) => {
        if (!numeric) return sign * words.compare(text(a), text(b));
        const x = key(a), y = key(b);
        // What is not known stands last, whichever way.
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (x - y);
      });
    }
    body.append(...rows);
  };
  heads.forEach((head, j) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const way = now === "none" ? "ascending" : now === "ascending" ? "descending" : "none";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", way);
      sort(j, way);
      told.textContent = way === "none"
        ? "Order as written"
        : `Sorted by ${button.textContent.trim()}, ${way}`;
    });
  });
});
