// The leaderboard: sorted by a click on a heading, filtered by text and by status, the selected configuration marked.

/** Return the columns: a title, the value of a configuration, and whether larger values come first at the first click. */
function leaderboardColumns() {
  const several = DATA.searches.length > 1;
  const metrics = [...new Set(DATA.searches.map((search) => search.objective.metric))];
  const measured = [...new Set(DATA.searches.flatMap((search) => search.metrics))];
  const names = [...new Set([...CONFIGURATIONS.values()].flatMap((configuration) => Object.keys(configuration.values)))];
  return [
    ...(several ? [{ title: "search", value: (item) => DATA.searches[item.search].name }] : []),
    { title: "config", value: (item) => item.config },
    { title: "epochs", value: (item) => item.epochs },
    { title: metrics.length === 1 ? metrics[0] : "objective", value: (item) => item.objective },
    ...(metrics.length > 1 ? [{ title: "metric", value: (item) => DATA.searches[item.search].objective.metric }] : []),
    ...measured.map((name) => ({ title: name, value: (item) => item.measured[name] ?? null })),
    { title: "status", value: (item) => item.status },
    { title: "origin", value: (item) => item.origin },
    ...names.map((name) => ({ title: name, value: (item) => item.values[name] ?? null })),
    { title: "seconds", value: (item) => item.seconds },
  ];
}

/** Return the order of two values; missing ones are last in both directions. */
function compare(first, second, direction) {
  const missing = (value) => value === null || value === undefined;
  if (missing(first) || missing(second)) return missing(first) - missing(second);
  if (typeof first === "number" && typeof second === "number") return direction * (first - second);
  return direction * String(first).localeCompare(String(second), "en", { numeric: true });
}

/** Return whether a configuration has all words of a filter; `NAME<NUMBER` and `NAME>NUMBER` compare a column. */
function passes(item, words, columns) {
  return words.every((word) => {
    const match = /^(.+?)(<=|>=|<|>|=)(.+)$/.exec(word);
    const column = match && columns.find((other) => other.title.toLowerCase() === match[1]);
    if (column) {
      const value = column.value(item), number = Number(match[3]);
      if (match[2] === "=") return format(value).toLowerCase() === match[3] || (typeof value === "number" && value === number);
      if (typeof value !== "number" || Number.isNaN(number)) return false;
      return { "<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number }[match[2]];
    }
    return columns.some((other) => format(other.value(item)).toLowerCase().includes(word));
  });
}

function leaderboard(node) {
  const columns = leaderboardColumns();
  const all = [...CONFIGURATIONS.values()];
  if (DATA.searches.length > 1) all.sort((a, b) => compareRanks(a, b));
  const rank = new Map(all.map((item, place) => [item.key, place]));
  const state = { column: null, direction: 1, words: [] };
  const rows = new Map(all.map((item) => [item.key, leaderboardRow(item, columns)]));
  const body = element("tbody");
  const count = element("span", { class: "dim", "aria-live": "polite" });
  const update = () => {
    const shown = all.filter((item) => passes(item, state.words, columns));
    const { column, direction } = state;
    shown.sort((a, b) => (column && compare(column.value(a), column.value(b), direction)) || rank.get(a.key) - rank.get(b.key));
    body.replaceChildren(...shown.map((item) => rows.get(item.key)));
    count.textContent = `${shown.length} of ${all.length} configurations`;
    for (const other of columns) {
      other.heading.setAttribute("aria-sort", other !== column ? "none" : direction > 0 ? "ascending" : "descending");
    }
  };
  for (const column of columns) {
    const button = element("button", { type: "button", onclick: () => {
      if (state.column !== column) Object.assign(state, { column, direction: 1 });
      else if (state.direction === 1) state.direction = -1;
      else Object.assign(state, { column: null, direction: 1 });
      update();
    } }, column.title);
    column.heading = element("th", { scope: "col" }, button);
  }
  const filter = element("input", { type: "search", placeholder: "for example: done optim.lr<0.01", "aria-label": "Filter the leaderboard" });
  filter.addEventListener("input", () => {
    state.words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    update();
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...columns.map((column) => column.heading))), body);
  const download = element("a", { class: "button", download: "leaderboard.csv", href: csv(all, columns) }, "CSV");
  node.replaceChildren(element("div", { class: "controls" }, filter, count, download), element("div", { class: "wide tall" }, table));
  update();
  onSelect((key) => {
    for (const row of body.querySelectorAll("tr.selected")) row.classList.remove("selected");
    const row = rows.get(key);
    if (row) row.classList.add("selected");
  });
}

/** Return the order of two configurations of different searches: more epochs first, then the better objective. */
function compareRanks(first, second) {
  const known = (item) => (item.objective === null ? 1 : 0);
  const sign = DATA.searches[first.search].objective.mode === "min" ? 1 : -1;
  return known(first) - known(second) || second.epochs - first.epochs || sign * ((first.objective ?? 0) - (second.objective ?? 0)) || first.search - second.search || first.row - second.row;
}

function leaderboardRow(item, columns) {
  const choose = () => select(selected === item.key ? null : item.key);
  const row = element("tr", { "data-key": item.key, tabindex: "0", onclick: choose, onkeydown: (event) => {
    if (event.key === "Enter") choose();
  } });
  const best = DATA.searches[item.search].best;
  if (best && best.config_id === item.config) row.classList.add("best");
  for (const column of columns) {
    const value = column.value(item);
    row.append(element("td", typeof value === "number" ? { class: "number" } : {}, format(value)));
  }
  return row;
}

/** Return the leaderboard as the address of a CSV file; cells that a spreadsheet would compute are quoted as text. */
function csv(items, columns) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = [columns.map((column) => column.title), ...items.map((item) => columns.map((column) => column.value(item)))];
  return `data:text/csv;charset=utf-8,${encodeURIComponent(lines.map((line) => line.map(cell).join(",")).join("\n"))}`;
}
