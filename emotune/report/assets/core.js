// Data of the page, formatting, and the selected configuration. Text of the journal becomes text nodes, never HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);

/** Return an element with attributes and children; strings become text nodes. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Return a value as text: numbers with four significant digits. */
function format(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
  return String(value);
}

/** Return a duration in its two largest units. */
function duration(seconds) {
  const total = Math.round(seconds), minutes = Math.floor(total / 60), hours = Math.floor(minutes / 60);
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min ${total % 60} s` : `${total % 60} s`;
}

// All configurations of the page. A key names one: the number of its search, a colon, its own number.

const CONFIGURATIONS = new Map();
DATA.searches.forEach((search, number) => {
  const columns = search.configurations;
  columns.config.forEach((config, row) => {
    CONFIGURATIONS.set(`${number}:${config}`, {
      key: `${number}:${config}`, search: number, config, row,
      epochs: columns.epochs[row], objective: columns.objective[row], status: columns.status[row],
      origin: columns.origin[row], bracket: columns.bracket[row], seconds: columns.seconds[row],
      values: columns.values[row],
      measured: Object.fromEntries(Object.entries(columns.measured).map(([name, values]) => [name, values[row]])),
    });
  });
});

/** Return the rows that describe a configuration: pairs of a name and a text. */
function description(configuration) {
  const search = DATA.searches[configuration.search];
  const rows = [];
  if (DATA.searches.length > 1) rows.push(["search", search.name]);
  rows.push(["configuration", format(configuration.config)]);
  rows.push([search.objective.metric, format(configuration.objective)]);
  for (const [name, value] of Object.entries(configuration.measured)) rows.push([name, format(value)]);
  rows.push(["epochs", format(configuration.epochs)], ["status", configuration.status], ["origin", configuration.origin]);
  for (const [name, value] of Object.entries(configuration.values)) rows.push([name, format(value)]);
  return rows;
}

/** Return a table of two columns. */
function pairs(rows) {
  const body = rows.map(([name, value]) => element("tr", {}, element("th", {}, name), element("td", {}, value)));
  return element("table", { class: "pairs" }, ...body);
}

// The selection: one configuration, the same in every chart and table. It survives the refresh of a running search.

const LISTENERS = [];
let selected = null;

function stored(name, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(name);
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch { /* a browser may deny storage to files */ }
  return null;
}

/** Highlight a configuration everywhere; null: none. */
function select(key) {
  if (key === selected) return;
  selected = key !== null && CONFIGURATIONS.has(key) ? key : null;
  stored("emotune-selected", selected);
  for (const listener of LISTENERS) listener(selected);
  showSelected();
}

function onSelect(listener) {
  LISTENERS.push(listener);
  if (selected !== null) listener(selected);
}

/** Show the selected configuration in the card at the bottom of the window. */
function showSelected() {
  const card = document.getElementById("selected");
  card.replaceChildren();
  card.hidden = selected === null;
  if (selected === null) return;
  const close = element("button", { type: "button", "aria-label": "Clear the selection", onclick: () => select(null) }, "×");
  card.append(close, pairs(description(CONFIGURATIONS.get(selected))));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") select(null);
});

/** Return the colours of the present theme, from the style sheet. */
function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: colour("ink"), dim: colour("dim"), line: colour("line"), paper: colour("paper"), soft: colour("soft"),
    accent: colour("accent"), mark: colour("mark"), failed: colour("failed"), good: colour("good"), faint: colour("faint"),
    series: [1, 2, 3, 4, 5, 6, 7, 8].map((number) => colour(`series-${number}`)),
  };
}
