// Figures of Bokeh in the colours of the page, with hover and selection by configuration.

/** Return an empty figure. Labels of the axes are beside the axes; there is no toolbar unless zoom is wanted. */
function figure({ height, x, y, xType = "linear", yType = "linear", xRange, yRange, zoom = false, grid = true }) {
  const colours = theme();
  const options = { height, sizing_mode: "stretch_width", tools: [], x_axis_type: xType, y_axis_type: yType };
  if (xRange) options.x_range = xRange;
  if (yRange) options.y_range = yRange;
  const plot = new Bokeh.Plotting.Figure(options);
  plot.background_fill_color = plot.border_fill_color = null;
  plot.outline_line_color = null;
  plot.min_border_right = 12;
  for (const axis of plot.axes) {
    axis.axis_line_color = axis.major_tick_line_color = colours.line;
    axis.minor_tick_line_color = null;
    axis.major_label_text_color = axis.axis_label_text_color = colours.dim;
    axis.major_label_text_font = axis.axis_label_text_font = FONT;
    axis.major_label_text_font_size = axis.axis_label_text_font_size = "12px";
    axis.axis_label_text_font_style = "normal";
  }
  for (const line of plot.grids) line.grid_line_color = grid ? colours.soft : null;
  if (x) plot.xaxes[0].axis_label = x;
  if (y) plot.yaxes[0].axis_label = y;
  const bar = plot.toolbar;
  bar.logo = null;
  if (zoom) {
    bar.autohide = true;
    plot.add_tools(new Bokeh.BoxZoomTool(), new Bokeh.PanTool(), new Bokeh.ResetTool(), new Bokeh.SaveTool());
    bar.active_drag = null;
  } else plot.toolbar_location = null;
  return plot;
}

const FONT = "system-ui, sans-serif";

/** Put the ticks of a setting's axis on an axis of a figure. */
function putTicks(axis, ticks) {
  axis.ticker = new Bokeh.FixedTicker({ ticks: ticks.map((tick) => tick.position) });
  axis.major_label_overrides = new Map(ticks.map((tick) => [tick.position, tick.label]));
}

/** Let an axis have ticks at integers only. */
function integers(axis) {
  axis.ticker = new Bokeh.BasicTicker({ min_interval: 1, num_minor_ticks: 0 });
}

/** Return "log" for positive values that span more than a factor, else "linear". */
function scaleOf(values, factor = 30) {
  const finite = values.filter((value) => value !== null && Number.isFinite(value));
  const low = Math.min(...finite), high = Math.max(...finite);
  return finite.length && low > 0 && high / low >= factor ? "log" : "linear";
}

/** Return a range around values that are shown; two percent of the values at the bad end may be outside. */
function robustRange(values, mode, type) {
  const sorted = values.filter((value) => value !== null && Number.isFinite(value)).sort((a, b) => a - b);
  if (sorted.length < 2) return null;
  const cut = Math.floor(sorted.length * 0.02);
  let low = sorted[mode === "min" ? 0 : cut], high = sorted[sorted.length - 1 - (mode === "min" ? cut : 0)];
  if (low === high) return null;
  if (type === "log") {
    const margin = (high / low) ** 0.06;
    return new Bokeh.Range1d({ start: low / margin, end: high * margin });
  }
  const margin = (high - low) * 0.06;
  return new Bokeh.Range1d({ start: low - margin, end: high + margin });
}

const SOURCES = [];

/** Return a data source whose rows belong to configurations; a click on a row selects its configuration. */
function source(keys, columns) {
  const data = new Bokeh.ColumnDataSource({ data: { ...columns, key: keys } });
  let own = false;
  const follow = (key) => {
    const indices = key === null ? [] : keys.flatMap((other, index) => (other === key ? [index] : []));
    own = true;
    data.selected.indices = indices;
    own = false;
  };
  data.selected.properties.indices.change.connect(() => {
    if (own) return;
    const index = data.selected.indices[0];
    const key = index === undefined ? null : keys[index];
    select(key);
    follow(selected);
  });
  SOURCES.push(data);
  onSelect(follow);
  return data;
}

/** Let a figure show the configuration under the pointer, and select it on a click. */
function interactive(plot, data, { renderers, extra = () => [], lines = false }) {
  const hover = new Bokeh.HoverTool({
    renderers,
    tooltips: (_, vars) => {
      const index = vars.index ?? 0;
      const configuration = CONFIGURATIONS.get(data.data.key[index]);
      const rows = [...extra(index, vars), ...(configuration ? description(configuration) : [])];
      const card = pairs(rows.filter(([, value]) => value !== null));
      card.classList.add("hover");
      card.dataset.key = data.data.key[index] ?? "";
      return tooltipStyle(card);
    },
    ...(lines ? { line_policy: "nearest" } : {}),
  });
  plot.add_tools(hover, new Bokeh.TapTool({ renderers }));
  hover.toggleable = false;
}

/** Tooltips are in a shadow root, where the style sheet of the page does not apply. */
function tooltipStyle(table) {
  Object.assign(table.style, { font: `12px/1.35 ${FONT}`, borderSpacing: "0", maxWidth: "22rem", color: "#1c2430" });
  for (const name of table.querySelectorAll("th")) {
    Object.assign(name.style, { textAlign: "left", fontWeight: "400", color: "#5b6675", paddingRight: ".8em" });
  }
  for (const cell of table.querySelectorAll("td")) cell.style.overflowWrap = "anywhere";
  return table;
}

/** Return the colours of lines and marks by state of selection, as options of a glyph. */
function selectable(colours, width = 1) {
  return {
    selection_line_color: colours.mark, selection_line_alpha: 1, selection_line_width: width + 2,
    selection_fill_color: colours.mark, selection_fill_alpha: 1,
    nonselection_line_alpha: 0.12, nonselection_fill_alpha: 0.15,
  };
}

/** Return options of a line glyph. */
function selectableLine(colours, width = 1) {
  return {
    selection_line_color: colours.mark, selection_line_alpha: 1, selection_line_width: width + 2,
    nonselection_line_alpha: 0.15,
  };
}

const VIEWS = [];

/**
 * Let a figure clear its whole canvas before it is painted again. Bokeh clears from half a pixel inside the edges,
 * so that text which a narrower layout cut off at an edge stays there, half as dark.
 */
function clearEdges(view) {
  const { primary, overlays } = view.canvas_view;
  for (const layer of [primary, overlays]) {
    layer.clear = () => layer.undo_transform((ctx) => ctx.clearRect(0, 0, layer.canvas.width, layer.canvas.height));
  }
}

/** Draw a figure into an element, with a legend of pairs of a colour and a text above it. */
async function show(plot, node, legend = []) {
  const items = legend.map(([colour, text]) =>
    element("li", {}, element("span", { class: "swatch", style: { background: colour } }), text));
  const target = element("div", { class: "plot" });
  node.replaceChildren(...(items.length ? [element("ul", { class: "legend" }, ...items)] : []), target);
  const view = await Bokeh.Plotting.show(plot, target);
  clearEdges(view);
  VIEWS.push({ node, plot, view });
}

/** Return a colour between two hexadecimal colours. */
function mix(first, second, share) {
  const part = (colour, place) => parseInt(colour.slice(1 + 2 * place, 3 + 2 * place), 16);
  const parts = [0, 1, 2].map((place) => Math.round(part(first, place) * (1 - share) + part(second, place) * share));
  return `#${parts.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
