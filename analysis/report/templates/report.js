// Tables sort and filter, numbers show their runs, text copies. Without this script everything is still there to read.
(() => {
  "use strict";
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const text = (cell) => cell.textContent.trim();
  const value = (cell) => {
    const number = cell.dataset.v;
    return number === undefined || number === "" ? null : Number(number);
  };

  // --- sorting: what has no value stays last, whichever way
  const sort = (table, index, ascending) => {
    const numeric = table.tHead.rows[0].cells[index].classList.contains("n");
    const sign = ascending ? 1 : -1;
    const rows = Array.from(table.tBodies[0].rows, (row, place) => {
      const cell = row.cells[index];
      const key = numeric ? value(cell) : text(cell).toLowerCase();
      return { row, place, key: key === "–" ? null : key };
    });
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      const order = numeric ? a.key - b.key : a.key.localeCompare(b.key, undefined, { numeric: true });
      return sign * order || a.place - b.place;
    });
    table.tBodies[0].append(...rows.map((item) => item.row));
  };
  const sortable = (table) => {
    Array.from(table.tHead.rows[0].cells).forEach((head, index, heads) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, index, ascending);
      });
    });
  };

  // --- filtering: a text box, and a choice for columns of few different values
  const CHOICES = ["dataset", "backbone", "variant", "verdict", "status", "stage", "outcome"];
  const filterable = (table) => {
    const rows = Array.from(table.tBodies[0].rows);
    if (rows.length < 6) return;
    const box = make("input", { type: "search", placeholder: "Filter rows", "aria-label": "Filter rows by text" });
    const count = make("output", { "aria-live": "polite" });
    const choices = [];
    Array.from(table.tHead.rows[0].cells).forEach((head, index) => {
      if (!CHOICES.includes(head.dataset.key)) return;
      const seen = [...new Set(rows.map((row) => text(row.cells[index])))];
      if (seen.length < 2 || seen.length > 60) return;
      const name = text(head);
      const options = [make("option", { value: "" }, `every ${name}`)];
      for (const one of seen) options.push(make("option", { value: one }, one));
      const select = make("select", { "aria-label": `Filter by ${name}` }, ...options);
      choices.push([select, index]);
    });
    const apply = () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const whole = text(row).toLowerCase();
        const chosen = choices.every(([select, index]) => !select.value || text(row.cells[index]) === select.value);
        row.hidden = !(chosen && words.every((word) => whole.includes(word)));
        if (!row.hidden) shown += 1;
      }
      count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
    };
    box.addEventListener("input", apply);
    for (const [select] of choices) select.addEventListener("change", apply);
    const tools = make("div", { class: "tools" }, box, ...choices.map(([select]) => select), count);
    table.closest(".scroll").before(tools);
  };
  for (const table of document.querySelectorAll("table.data")) {
    filterable(table);
    sortable(table);
  }

  // --- a number's runs, beside it
  let open = null;
  const close = () => {
    if (open) open.remove();
    open = null;
  };
  const numbers = (ranges) =>
    ranges.split(" ").flatMap((range) => {
      const [first, last = first] = range.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.k[data-r]");
    if (!link) {
      if (open && !open.contains(event.target)) close();
      return;
    }
    const runs = numbers(link.dataset.r).map((index) => document.getElementById(`r${index}`)).filter(Boolean);
    if (!runs.length) return;
    event.preventDefault();
    close();
    const groups = new Map();
    for (const run of runs) {
      const cell = run.closest(".cellruns").dataset.cell;
      if (!groups.has(cell)) groups.set(cell, make("ul"));
      const copy = run.cloneNode(true);
      copy.removeAttribute("id");
      groups.get(cell).append(copy);
    }
    open = make("div", { class: "pop", role: "dialog", "aria-label": "Runs behind this number", tabindex: "-1" });
    for (const [cell, list] of groups) open.append(make("p", {}, cell), list);
    const all = make("a", { href: link.getAttribute("href") }, "all runs of this cell");
    all.addEventListener("click", close);
    open.append(make("p", {}, all));
    document.body.append(open);
    const place = link.getBoundingClientRect();
    const left = Math.min(place.left, document.documentElement.clientWidth - open.offsetWidth - 8);
    open.style.left = `${Math.max(8, left) + window.scrollX}px`;
    open.style.top = `${place.bottom + window.scrollY + 6}px`;
    open.focus({ preventScroll: true });
    open.addEventListener("keydown", (key) => {
      if (key.key !== "Escape") return;
      close();
      link.focus();
    });
  });

  // --- a link into something folded unfolds it
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // --- paper can't unfold: answer, audit and tables are printed whole
  const unfolded = [];
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("#answer details:not([open]), #tables details:not([open])")) {
      folded.open = true;
      unfolded.push(folded);
    }
  });
  addEventListener("afterprint", () => {
    for (const folded of unfolded.splice(0)) folded.open = false;
  });

  // --- copying
  for (const block of document.querySelectorAll("[data-copy]")) {
    const button = make("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      const whole = Array.from(block.children, text).join("\n\n") || text(block);
      try {
        await navigator.clipboard.writeText(whole);
      } catch {
        const area = make("textarea"); // a page opened from disk may have no clipboard
        area.value = whole;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    block.after(button);
  }
})();
