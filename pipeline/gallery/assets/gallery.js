// The gallery of a run. Data files are scripts that call `ganfit.run`, `ganfit.people`, `ganfit.person`, `ganfit.topology`:
// pages that are opened from a disk may run scripts and show pictures, and may not read other files.
"use strict";

const PAGE = 100;
const SCORES = { judge_similarity: "judge", identity_similarity: "similarity", landmark_error: "landmark error" };
const element = (id) => document.getElementById(id);
const state = { run: null, blocks: [], count: 0, loaded: 0, order: [], page: 0, viewer: null, topology: null, shown: 0 };
const waiting = { person: null };

window.ganfit = {
  state,
  run(content) {
    state.run = content;
    const ok = count(content.identities, "ok"), all = sum(content.identities);
    element("totals").textContent =
      `${all.toLocaleString("en")} people, ${ok.toLocaleString("en")} ok; ${sum(content.frames).toLocaleString("en")} images, ` +
      `${content.items.toLocaleString("en")} of ${content.planned_items.toLocaleString("en")} input files` +
      skippedText(content.record?.input?.skipped_by_suffix ?? {}) +
      (content.remark ? `; ${content.remark}` : "");
    fillFilters(content.identities);
    route();
    loadBlocks();
  },
  people(block) { received.block = block; },
  person(content) { received.person = content; },
  topology(content) { received.topology = content; },
};
const received = {};

function sum(counts) { return Object.values(counts).reduce((a, b) => a + b, 0); }
function count(counts, status) {
  return Object.entries(counts).reduce((total, [label, n]) => total + (label.split(" ")[0] === status ? n : 0), 0);
}

// Runs a data file and gives what it handed over.
function load(source, slot) {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = () => { script.remove(); slot ? done(received[slot]) : done(); };
    script.onerror = () => { script.remove(); failed(new Error(`${source} cannot be read`)); };
    document.head.append(script);
  });
}
const path = (...parts) => parts.join("/").split("/").map((part) => (part === ".." ? part : encodeURIComponent(part))).join("/");

async function loadBlocks() {
  for (const entry of state.run.blocks) {
    let block;
    try {
      block = await load(`data/${entry.name}?${entry.digest}`, "block");
    } catch (error) {
      element("found").textContent = error.message;
      continue;
    }
    block.first = state.count;
    block.lower = block.id.map((id) => id.toLowerCase());
    state.blocks.push(block);
    state.count += block.id.length;
    state.loaded++;
    const done = state.loaded === state.run.blocks.length;
    if (done || state.loaded === 1) refresh();
    else if (state.loaded % 10 === 0) await new Promise((next) => setTimeout(next));
    if (waiting.person !== null) openPerson(waiting.person);
  }
  state.complete = true;
  state.completeAt = performance.now();
  refresh();
  if (!element("scores").hidden) drawScores();
  if (waiting.person !== null) openPerson(waiting.person);
}

function skippedText(counts) {
  const pairs = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  return pairs.length ? `; skipped: ${pairs.map(([suffix, count]) => `${count.toLocaleString("en")} ${suffix}`).join(", ")}` : "";
}

// A person is known by a number: its place in the order of the blocks.
function blockOf(number) {
  let low = 0, high = state.blocks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (state.blocks[middle].first <= number) low = middle; else high = middle - 1;
  }
  return state.blocks[low];
}
function personAt(number) {
  const block = blockOf(number), i = number - block.first;
  const label = block.labels[block.label[i]];
  return { id: block.id[i], page: block.page[i], folder: block.folders[block.shard[i]], label, status: label.split(" ")[0],
    images: block.images[i], ok: block.ok[i], judge_similarity: block.judge_similarity[i],
    identity_similarity: block.identity_similarity[i], landmark_error: block.landmark_error[i] };
}

function fillFilters(identities) {
  const statuses = new Set(), reasons = new Set();
  for (const label of Object.keys(identities)) {
    const [status, ...reason] = label.split(" ");
    statuses.add(status);
    if (reason.length) reasons.add(reason.join(" "));
  }
  for (const [id, names] of [["status", statuses], ["reason", reasons]]) {
    for (const name of [...names].sort()) element(id).append(new Option(name.replaceAll("_", " "), name));
  }
}

function refresh() {
  const text = element("search").value.trim().toLowerCase();
  const status = element("status").value, reason = element("reason").value, sort = element("sort").value;
  const order = [], keys = [];
  for (const block of state.blocks) {
    const wanted = block.labels.map((label) => {
      const [first, ...rest] = label.split(" ");
      return (!status || first === status) && (!reason || rest.join(" ") === reason);
    });
    const column = sort === "order" ? null : block[sort];
    for (let i = 0; i < block.id.length; i++) {
      if (!wanted[block.label[i]] || (text && !block.lower[i].includes(text))) continue;
      order.push(block.first + i);
      if (column) keys[block.first + i] = column[i];
    }
  }
  const sign = element("descending").checked ? -1 : 1;
  if (sort === "order") { if (sign < 0) order.reverse(); }
  else order.sort((a, b) => {
    const x = keys[a], y = keys[b];
    if (x === null || y === null) return (x === null) - (y === null) || a - b; // without a score: last
    return x < y ? -sign : x > y ? sign : a - b;
  });
  state.order = order;
  state.page = Math.max(0, Math.min(state.page, Math.ceil(order.length / PAGE) - 1));
  drawPage();
}

function drawPage() {
  const first = state.page * PAGE, shown = state.order.slice(first, first + PAGE);
  element("cards").replaceChildren(...shown.map(card));
  const pages = Math.max(1, Math.ceil(state.order.length / PAGE));
  element("place").textContent = `page ${state.page + 1} of ${pages.toLocaleString("en")}`;
  element("previous").disabled = state.page === 0;
  element("next").disabled = state.page + 1 >= pages;
  const part = state.complete ? "" : `; ${state.loaded} of ${state.run.blocks.length} data files read`;
  element("found").textContent = `${state.order.length.toLocaleString("en")} people${part}`;
}

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node[name] = value;
  node.append(...children);
  return node;
}
const score = (name, value) =>
  value === null ? "" : name === "landmark_error" ? `${(100 * value).toFixed(1)} %` : value.toFixed(2);

function card(number) {
  const person = personAt(number);
  const link = make("a", { href: `#/person/${encodeURIComponent(person.id)}` });
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", width: 256, height: 128 });
  if (person.page) image.src = path("..", person.folder, person.page.replace(/\.js$/, ".jpg"));
  const text = make("span", { className: "text" }, make("span", { className: "id", textContent: person.id, title: person.id }));
  const scores = Object.entries(SCORES)
    .filter(([name]) => person[name] !== null)
    .map(([name, title]) => `${title === "landmark error" ? "landmarks" : title} ${score(name, person[name])}`);
  text.append(person.status === "ok" && scores.length
    ? make("span", { className: "quiet", textContent: scores.join(" · ") })
    : make("span", { className: person.status, textContent: person.label.replaceAll("_", " ") }));
  link.append(image, text);
  return make("li", {}, link);
}

// --- a person's page

async function openPerson(id) {
  waiting.person = id;
  let number = -1;
  for (const block of state.blocks) {
    const place = block.id.indexOf(id);
    if (place >= 0) { number = block.first + place; break; }
  }
  element("name").textContent = id;
  if (number < 0) {
    for (const part of ["remark", "frames", "links"]) element(part).replaceChildren();
    element("canvas").hidden = element("tools").hidden = true;
    say(state.complete ? "There is no person of this id in the run." : "");
    return;
  }
  waiting.person = null;
  const person = personAt(number), turn = ++state.shown;
  const remark = element("remark");
  remark.replaceChildren(make("span", { className: person.status, textContent: person.label.replaceAll("_", " ") }));
  const facts = Object.entries(SCORES).filter(([name]) => person[name] !== null)
    .map(([name, title]) => `${title} ${score(name, person[name])}`);
  facts.unshift(`${person.ok} of ${person.images} images used`);
  remark.append(" · " + facts.join(" · "));
  element("frames").replaceChildren();
  element("links").replaceChildren();
  say("");
  let content;
  try {
    if (!person.page) throw new Error("This shard has no data for the gallery.");
    content = await load(path("..", person.folder, person.page), "person");
  } catch (error) {
    return say(error.message);
  }
  if (turn !== state.shown || content.id !== id) return;
  if (content.message) remark.append(make("span", { className: "quiet", textContent: ` · ${content.message}` }));
  element("frames").replaceChildren(...content.frames.map(figure), ...surplus(content.more));
  const files = [["mesh_path", "Mesh"], ["texture_path", "Texture"]].filter(([name]) => content[name])
    .map(([name, title]) => make("a", { href: path("..", person.folder, content[name]), textContent: title }));
  files.push(make("a", { href: path("..", person.folder, "contact_sheet.png"), textContent: "Contact sheet" }));
  element("links").replaceChildren(...files);
  await showMesh(content.mesh, turn);
}

function surplus(more) {
  return Object.entries(more).map(([label, n]) =>
    make("p", { className: "quiet", textContent: `and ${n.toLocaleString("en")} more: ${label.replaceAll("_", " ")}` }));
}

function figure(frame) {
  const names = ["photo", "render over photo", "shape"];
  const row = make("div", { className: "row" });
  frame.pictures.forEach((data, i) => {
    if (data) row.append(make("img", { src: `data:image/jpeg;base64,${data}`, alt: `${names[i]} of ${frame.id}`, title: names[i] }));
  });
  const label = `${frame.status} ${frame.reason}`.trim().replaceAll("_", " ");
  const caption = make("figcaption", {}, make("span", { textContent: frame.uri.split("/").slice(-2).join("/"), title: frame.uri }));
  if (frame.time_s !== null && frame.time_s !== undefined) caption.append(` at ${frame.time_s.toFixed(2)} s`);
  caption.append(make("br"), make("span", { className: frame.status, textContent: label }));
  const scores = Object.entries(SCORES).filter(([name]) => frame[name] !== null)
    .map(([name, title]) => `${title} ${score(name, frame[name])}`);
  const rest = [...scores, ...(frame.message ? [frame.message] : [])];
  if (rest.length) caption.append(make("span", { className: "quiet", textContent: " · " + rest.join(" · ") }));
  return make("figure", {}, row, caption);
}

function say(text) { element("viewer-message").textContent = text; }

async function showMesh(mesh, turn) {
  element("canvas").hidden = element("tools").hidden = !mesh;
  if (!mesh) {
    if (state.viewer) state.viewer.clear();
    return say("There is no mesh: no image of this person could be used.");
  }
  try {
    await prepareViewer();
    if (turn !== state.shown) return;
    await state.viewer.show(mesh);
    element("canvas").dataset.ready = String(turn);
  } catch (error) {
    element("canvas").hidden = element("tools").hidden = true;
    say(`The mesh cannot be shown (${error.message}); its files are below.`);
  }
}

function prepareViewer() {
  state.preparing ??= (async () => {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
    const topology = load("data/topology.js", "topology");
    await load("three.js");
    await load("viewer.js");
    const viewer = (state.viewer = new window.ganfit.Viewer(element("canvas"), await topology));
    for (const name of ["texture", "light", "wireframe"]) {
      element(name).addEventListener("change", (event) => viewer.set({ [name]: event.target.checked }));
    }
    element("direction").addEventListener("input", (event) => viewer.set({ direction: Number(event.target.value) }));
    element("reset").addEventListener("click", () => viewer.reset());
    const turns = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15], "+": [0, 0, 0.9], "-": [0, 0, 1.1] };
    element("canvas").addEventListener("keydown", (event) => {
      if (!turns[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      viewer.turn(...turns[event.key]);
    });
    for (const name of ["texture", "light", "wireframe"]) viewer.options[name] = element(name).checked;
    viewer.options.direction = Number(element("direction").value);
  })();
  return state.preparing;
}

// --- scores and run

function drawScores() {
  const charts = make("div", { className: "charts" });
  for (const [name, title] of Object.entries(SCORES)) charts.append(histogram(name, title));
  const page = element("scores");
  page.replaceChildren(make("h2", { textContent: "Scores" }),
    make("p", { className: "quiet", textContent: "Means over the images of each person that is ok." }), charts,
    make("h3", { textContent: "What became of images and people" }), outcomes());
}

function histogram(name, title) {
  const BINS = 40, values = [];
  for (const block of state.blocks) for (const value of block[name]) if (value !== null) values.push(value);
  values.sort((a, b) => a - b);
  const low = name === "landmark_error" ? 0 : Math.min(0, values[0] ?? 0);
  const high = name === "landmark_error" ? Math.max(0.05, values[Math.floor(values.length * 0.995)] ?? 0) : 1;
  const bins = new Array(BINS).fill(0);
  for (const value of values) bins[Math.min(BINS - 1, Math.max(0, Math.floor(((value - low) / (high - low)) * BINS)))]++;
  const top = Math.max(1, ...bins), width = 400, height = 150;
  const median = values.length ? values[values.length >> 1] : null;
  const graph = svg("svg", { viewBox: `0 0 ${width} ${height + 18}`, role: "img" });
  graph.append(svg("title", {}, `${title}: ${values.length} people` + (median === null ? "" : `, median ${score(name, median)}`)));
  bins.forEach((n, i) => {
    if (!n) return;
    const tall = Math.max(1, (n / top) * height);
    const from = low + (i * (high - low)) / BINS, to = low + ((i + 1) * (high - low)) / BINS;
    const bar = svg("rect", { x: (i * width) / BINS, y: height - tall, width: width / BINS - 1, height: tall });
    bar.append(svg("title", {}, `${score(name, from)} to ${score(name, to)}: ${n.toLocaleString("en")}`));
    graph.append(bar);
  });
  for (const [at, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    graph.append(svg("text", { x: at * width, y: height + 14, "text-anchor": anchor }, score(name, low + at * (high - low))));
  }
  const note = median === null ? "no values" : `${values.length.toLocaleString("en")} people, median ${score(name, median)}, ` +
    `5 % ${score(name, values[Math.floor(values.length * 0.05)])}, 95 % ${score(name, values[Math.floor(values.length * 0.95)])}`;
  return make("section", { className: "chart" }, make("h3", { textContent: title }), graph,
    make("p", { className: "quiet", textContent: note }));
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function outcomes() {
  const { identities, frames } = state.run;
  const names = [...new Set([...Object.keys(identities), ...Object.keys(frames)])];
  const all = sum(frames) || 1;
  names.sort((a, b) => (b.startsWith("ok") - a.startsWith("ok")) || (frames[b] ?? 0) - (frames[a] ?? 0));
  const body = make("tbody");
  for (const name of names) {
    const [status, ...reason] = name.split(" ");
    const link = make("a", { href: "#/", className: status, textContent: name.replaceAll("_", " ") });
    link.addEventListener("click", () => {
      element("status").value = status;
      element("reason").value = reason.join(" ");
      state.page = 0;
      refresh();
    });
    const bar = svg("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" });
    bar.append(svg("rect", { width: (100 * (frames[name] ?? 0)) / all, height: 4 }));
    body.append(make("tr", {}, make("td", {}, identities[name] ? link : make("span", { className: status, textContent: name.replaceAll("_", " ") })),
      make("td", { className: "number", textContent: (frames[name] ?? 0).toLocaleString("en") }),
      make("td", { className: "share" }, bar),
      make("td", { className: "number", textContent: (identities[name] ?? 0).toLocaleString("en") })));
  }
  const head = make("tr", {}, ...[["outcome", ""], ["images", "number"], ["share of images", ""], ["people", "number"]]
    .map(([textContent, className]) => make("th", { scope: "col", textContent, className })));
  return make("table", {}, make("thead", {}, head), body);
}

function drawRun() {
  element("run").replaceChildren(make("h2", { textContent: "Run" }),
    make("p", { className: "quiet", textContent: `${state.run.shards.toLocaleString("en")} shards, ${(state.run.fit_seconds / 3600).toFixed(2)} hours of fitting.` }),
    make("pre", { tabIndex: 0, textContent: JSON.stringify(state.run.record, null, 2) }));
}

// --- where we are

function route() {
  const place = location.hash.replace(/^#\/?/, "");
  const [name, rest] = place.startsWith("person/") ? ["person", decode(place.slice(7))] : [place || "people", ""];
  const shown = ["people", "person", "scores", "run"].includes(name) ? name : "people";
  for (const id of ["people", "person", "scores", "run"]) element(id).hidden = id !== shown;
  for (const link of document.querySelectorAll("header nav a")) {
    const current = link.getAttribute("href") === (shown === "people" ? "#/" : `#/${shown}`);
    if (current) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.title = shown === "person" ? `${rest} – Reconstructions` : "Reconstructions";
  waiting.person = null;
  if (!state.run) return;
  if (shown === "scores") drawScores();
  if (shown === "run") drawRun();
  if (shown === "person") { openPerson(rest); window.scrollTo(0, 0); element("name").focus({ preventScroll: true }); }
}
function decode(text) { try { return decodeURIComponent(text); } catch { return text; } }

function turnPage(step) {
  const pages = Math.max(1, Math.ceil(state.order.length / PAGE));
  const page = Math.min(Math.max(state.page + step, 0), pages - 1);
  if (page === state.page) return;
  state.page = page;
  drawPage();
  window.scrollTo(0, 0);
}

window.addEventListener("hashchange", route);
element("filters").addEventListener("submit", (event) => event.preventDefault());
let typing = 0;
element("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { state.page = 0; refresh(); }, 120);
});
for (const id of ["status", "reason", "descending"]) {
  element(id).addEventListener("change", () => { state.page = 0; refresh(); });
}
element("sort").addEventListener("change", () => {
  element("descending").checked = false;
  state.page = 0;
  refresh();
});
element("previous").addEventListener("click", () => turnPage(-1));
element("next").addEventListener("click", () => turnPage(1));
window.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA", "CANVAS"].includes(document.activeElement?.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && !element("person").hidden) location.hash = "#/";
  else if (typing || element("people").hidden) return;
  else if (event.key === "/") { event.preventDefault(); element("search").focus(); }
  else if (event.key === "ArrowRight") turnPage(1);
  else if (event.key === "ArrowLeft") turnPage(-1);
});
