// Start of the page: open the plotting library, draw each chart when it comes near the window, and the leaderboard.

async function openLibrary() {
  for (const packed of document.querySelectorAll("script.library")) {
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const code = element("script");
    code.textContent = await new Response(stream).text();
    document.head.append(code);
    packed.remove();
  }
  Bokeh.logger.set_level("warn");
}

/** Draw a chart once. */
async function draw(node) {
  const chart = CHARTS[node.dataset.chart];
  if (node.dataset.drawn || !chart) return;
  node.dataset.drawn = "begun";
  await chart(node);
  node.dataset.drawn = "done";
}

async function drawAll() {
  for (const node of document.querySelectorAll("[data-chart]")) await draw(node);
}

async function start() {
  const board = document.getElementById("leaderboard");
  if (board) leaderboard(board);
  await openLibrary();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "600px" });
  for (const node of document.querySelectorAll("[data-chart]")) near.observe(node);
  window.addEventListener("beforeprint", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
  select(stored("emotune-selected"));
  document.documentElement.dataset.ready = "true";
}

window.report = { drawAll, sources: SOURCES, views: VIEWS };
start();
