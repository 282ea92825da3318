"use strict";
{
  const section = document.querySelector(".contact");
  const cells = [...section.querySelectorAll("[data-cell]")];
  const told = section.querySelector("output");
  const save = section.querySelector(".save");
  const choices = new Map();
  let isSaved = true;

  const thumb = (cell, choice) => cell.querySelector(`button.${choice}`);

  function choose(cell, choice) {
    if (choices.get(cell) === choice) choices.delete(cell);
    else choices.set(cell, choice);
    for (const each of ["up", "down"]) {
      thumb(cell, each).setAttribute("aria-pressed", String(choices.get(cell) === each));
    }
    isSaved = choices.size === 0;
    tell();
  }

  function tell() {
    const good = [...choices.values()].filter((choice) => choice === "up").length;
    const counts = `${good} good, ${choices.size - good} bad`;
    told.textContent = choices.size ? counts + (isSaved ? ", saved" : "") : "Nothing chosen yet";
    save.disabled = choices.size === 0;
  }

  function download() {
    const chosen = cells.filter((cell) => choices.has(cell));
    const content = {
      batch: document.querySelector('meta[name="replicate-job-batch"]').content,
      saved_at: new Date().toISOString(),
      choices: chosen.map((cell) => ({ choice: choices.get(cell), ...JSON.parse(cell.dataset.cell) })),
    };
    const file = new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "choices.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    isSaved = true;
    tell();
  }

  /* The nearest thumb of the same kind in that direction, by where they are on the page. */
  function neighbour(button, key) {
    const here = button.getBoundingClientRect();
    const kind = button.classList.contains("up") ? "up" : "down";
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    let nearest = null, least = Infinity;
    for (const cell of cells) {
      const other = thumb(cell, kind), there = other.getBoundingClientRect();
      const right = there.x - here.x, down = there.y - here.y;
      const along = right * x + down * y, across = Math.abs(right * y) + Math.abs(down * x);
      if (other === button || along < 8 || (x && across > 40)) continue;
      if (along + across * 4 < least) [nearest, least] = [other, along + across * 4];
    }
    return nearest;
  }

  section.classList.add("live");
  section.addEventListener("click", (event) => {
    const button = event.target.closest(".thumbs button");
    if (button) choose(button.closest("[data-cell]"), button.classList.contains("up") ? "up" : "down");
  });
  section.addEventListener("keydown", (event) => {
    const button = event.target.closest(".thumbs button");
    if (!button || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const next = neighbour(button, event.key);
    if (!next) return;
    next.focus({ preventScroll: true });
    next.closest("article").scrollIntoView({ block: "center", inline: "center" });
  });
  save.addEventListener("click", download);
  addEventListener("beforeunload", (event) => {
    if (!isSaved) event.preventDefault();
  });
}
