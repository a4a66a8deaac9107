"use strict";
// All words that come from the map are set as text, never as HTML, since a label may be anything.
(async () => {
  const $ = (id) => document.getElementById(id);
  const meta = JSON.parse($("meta").textContent);
  const n = meta.shown;
  const whole = new Intl.NumberFormat("en");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const MISSING = () => (dark.matches ? "#5A5E66" : "#C4C8CC");
  const ground = () => getComputedStyle(document.documentElement).getPropertyValue("--ground").trim();
  // The most rows that a search selects: for more the browser needs seconds.
  const MOST_FOUND = 200000;
  const SHADES = 128;

  const bytes = (name) => {
    const text = atob($("part-" + name).textContent);
    const found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  };
  const unpacked = async (name) =>
    new Response(new Blob([bytes(name)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();

  // ------------------------------------------------------------------------------------------------- what is told
  $("title").textContent = document.title = meta.title;
  $("caption").textContent = meta.caption;
  $("note").textContent = meta.note;
  const told = [`A map of ${whole.format(meta.n)} rows, of which ${whole.format(n)} are shown one by one.`];
  for (const column of meta.columns) {
    if (column.kind === "kinds") {
      const order = column.counts.map((count, at) => [count, at]).sort((a, b) => b[0] - a[0]);
      const first = order.slice(0, 5).map(([count, at]) => `${column.names[at]} (${whole.format(count)})`);
      const more = order.length > 5 ? ` and ${order.length - 5} more` : "";
      told.push(`${column.name} has ${column.names.length} labels: ${first.join(", ")}${more}.`);
    } else if (column.kind === "numbers") told.push(`${column.name} goes from ${short(column.low)} to ${short(column.high)}.`);
  }
  $("summary").textContent = told.join(" ");
  $("map").setAttribute("aria-label", told[0]);

  // ------------------------------------------------------------------------------------------------------- places
  const packed = new Uint16Array(bytes("places").buffer);
  const x = new Float32Array(n), y = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    x[i] = packed[i] / 32767.5 - 1;
    y[i] = packed[n + i] / 32767.5 - 1;
  }
  let rows = null;
  if (!meta.all) {
    rows = new Uint32Array(await unpacked("rows"));
    for (let i = 1; i < n; i++) rows[i] += rows[i - 1];
  }
  const rowOf = (i) => (rows ? rows[i] : i);
  const indexOf = (row) => {
    if (!rows) return row < n ? row : -1;
    let low = 0, high = n;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle] < row) low = middle + 1; else high = middle;
    }
    return low < n && rows[low] === row ? low : -1;
  };

  // ------------------------------------------------------------------------------------------------------ columns
  const columns = [];
  for (let at = 0; at < meta.columns.length; at++) {
    const column = { ...meta.columns[at], at };
    const data = await unpacked("column" + at);
    if (column.kind === "kinds") column.codes = column.bytes === 1 ? new Uint8Array(data) : new Uint16Array(data);
    else if (column.kind === "numbers") column.values = new Float32Array(data);
    else column.texts = new TextDecoder().decode(data).split("\n");
    columns.push(column);
  }
  function short(number) { return Number.isFinite(number) ? String(Number(number.toPrecision(5))) : "missing"; }
  const cell = (column, i) =>
    column.kind === "kinds" ? column.names[column.codes[i]] ?? "missing"
      : column.kind === "numbers" ? short(column.values[i]) : column.texts[i];

  // Colours as a list, and the place in it of each row; missing ones are last.
  const hex = (parts) => "#" + parts.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");
  const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const shade = (share) => {
    const place = Math.min(Math.max(share, 0), 1) * (meta.scale.length - 1);
    const at = Math.min(Math.floor(place), meta.scale.length - 2);
    const [one, other] = [rgb(meta.scale[at]), rgb(meta.scale[at + 1])];
    return hex(one.map((part, channel) => part + (other[channel] - part) * (place - at)));
  };
  const palettes = (column) => {
    const z = new Float32Array(n);
    if (!column || column.kind === "texts") return { colors: [dark.matches ? "#66AADD" : "#4477AA"], z };
    if (column.kind === "kinds") {
      // Up to a hundred labels have different colours; of more labels, those that the most rows have.
      const place = new Uint16Array(column.names.length + 1);
      const order = column.names.map((_, at) => at);
      if (order.length > meta.palette.length) order.sort((a, b) => column.counts[b] - column.counts[a]);
      order.forEach((label, at) => { place[label] = at % meta.palette.length; });
      place[column.names.length] = meta.palette.length;
      for (let i = 0; i < n; i++) z[i] = place[column.codes[i]];
      column.colorOf = (label) => [...meta.palette, MISSING()][place[label]];
      return { colors: [...meta.palette, MISSING()], z };
    }
    const width = column.high - column.low || 1;
    for (let i = 0; i < n; i++) {
      const share = (column.values[i] - column.low) / width;
      z[i] = Number.isFinite(share) ? Math.min(SHADES - 1, Math.floor(share * SHADES)) : SHADES;
    }
    return { colors: [...Array.from({ length: SHADES }, (_, at) => shade((at + 0.5) / SHADES)), MISSING()], z };
  };
  let current = columns[0] ?? null;
  let { colors, z } = palettes(current);
  const hiddenLabels = new Set();

  // ------------------------------------------------------- a first picture, and the only one where there is no WebGL
  const preview = () => {
    const canvas = $("preview"), box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    const inks = colors.map(rgb), side = Math.min(width, height), [left, top] = [(width - side) / 2, (height - side) / 2];
    // Of a hundred thousand rows one dot each is enough; of few it would not be seen.
    const wide = n < 2000 ? 5 : n < 100000 ? 3 : 1, half = (wide - 1) / 2;
    for (let i = 0; i < n; i++) {
      const across = Math.floor(left + (x[i] + 1) / 2 * (side - 1)), down = Math.floor(top + (1 - y[i]) / 2 * (side - 1));
      for (let k = 0; k < wide * wide; k++) {
        const [u, v] = [across + k % wide - half, down + Math.floor(k / wide) - half];
        if (u >= 0 && u < width && v >= 0 && v < height) image.data.set([...inks[z[i]], 255], 4 * (v * width + u));
      }
    }
    context.putImageData(image, 0, 0);
    window.tsneMap.firstPicture = performance.now();
  };
  window.tsneMap = { meta, columns };
  const grey = meta.density ? "data:image/png;base64," + $("part-density").textContent : null;
  if (grey) $("preview").style.background = `url(${grey}) center / contain no-repeat`;
  preview();
  listKinds();

  // ---------------------------------------------------------------------------------------------------------- map
  const canvas = $("map");
  let plot;
  // Where a frame takes long, as without a graphics card (200,000 rows: 0.4 s), the picture itself is moved while the
  // view changes, and the rows are drawn anew once it rests.
  const SLOW = 50, REST = 150;
  const moves = { slow: false, costs: [], view: null, picture: null, resting: false, still: null, last: 0 };
  const measure = () => {
    const start = performance.now();
    // The frame after the next one has to wait for what is drawn now.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (document.hidden) return;
      moves.costs = [...moves.costs, (performance.now() - start) / 2].slice(-3);
      moves.slow = moves.costs.length > 1 && [...moves.costs].sort((a, b) => a - b)[1] > SLOW;
    }));
  };
  // What takes a place of the drawn view to the same place of another one, in dots of the canvas.
  const between = (before, after) => {
    const { width, height } = canvas;
    const screen = new DOMMatrix([width / 2, 0, 0, -height / 2, width / 2, height / 2]).scale(height / width, 1);
    const flat = (view) => new DOMMatrix([view[0], view[1], view[4], view[5], view[12], view[13]]);
    return screen.multiply(flat(after)).multiply(flat(before).inverse()).multiply(screen.inverse());
  };
  moves.between = between;
  const moved = (target, view) => {
    if (!moves.picture) {
      moves.picture = Object.assign(document.createElement("canvas"), { width: target.width, height: target.height });
      moves.picture.getContext("2d").drawImage(target, 0, 0);
    }
    const context = target.getContext("2d");
    context.clearRect(0, 0, target.width, target.height);
    context.setTransform(between(moves.view, view));
    context.drawImage(moves.picture, 0, 0);
    context.resetTransform();
    if (moves.still === null) requestAnimationFrame(settle);
    Object.assign(moves, { still: 0, last: performance.now() });
  };
  // Frames are counted, too: where all of them are slow, time alone would take a pause between two of them for rest.
  const settle = () => {
    if (moves.still === null) return;
    if (++moves.still < 3 || performance.now() - moves.last < REST) { requestAnimationFrame(settle); return; }
    Object.assign(moves, { still: null, resting: true });
    plot.redraw();
  };
  const drawn = (renderer) => (draw, target) => {
    const view = plot ? Array.from(plot.get("cameraView")) : null;
    const same = !moves.view || !view || view.every((one, at) => one === moves.view[at]);
    if (moves.slow && !same && !moves.resting) { moved(target, view); return; }
    renderer.render(draw, target);
    Object.assign(moves, { view, picture: null, resting: false, still: null });
    measure();
  };
  try {
    // By default it is as large as the screen, and zoomed pages and some viewers are larger than that.
    const renderer = createScatterplot.createRenderer();
    const fit = () => renderer.resize(Math.min(window.innerWidth, 4096), Math.min(window.innerHeight, 4096));
    fit();
    window.addEventListener("resize", () => { fit(); moves.resting = true; });
    plot = createScatterplot.default({
      renderer: Object.create(renderer, { render: { value: drawn(renderer) } }), canvas, width: "auto", height: "auto", backgroundColor: ground(), pointColor: colors, colorBy: "valueA",
      pointSize: n < 2000 ? 7 : n < 20000 ? 4.5 : n < 100000 ? 3 : n < 300000 ? 2 : 1.5, opacityBy: "density",
      pointColorActive: dark.matches ? "#FFFFFF" : "#000000", pointColorHover: dark.matches ? "#FFFFFF" : "#000000",
      lassoColor: dark.matches ? "#6CB2FF" : "#0B63CE", showReticle: false, lassoOnLongPress: true,
      
      // The worker of the minified file lacks functions that it needs.
      spatialIndexUseWorker: false,
      ...(grey ? { backgroundImage: grey } : {}),
    });
    if (!plot.isSupported) throw new Error("textures of floats are missing");
    await plot.draw({ x, y, z }, { zDataType: "categorical", wDataType: "categorical" });
  } catch (error) {
    window.tsneMap.withoutWebGL = String(error);
    $("note").textContent = `${meta.note ? meta.note + "; " : ""}this browser has no WebGL, so this picture stands still`;
    canvas.hidden = $("tools").hidden = $("by-row").hidden = true;
    window.addEventListener("resize", preview);
    for (const box of document.querySelectorAll("aside input, aside button, aside select")) box.disabled = true;
    return;
  }
  $("preview").hidden = true;
  Object.assign(window.tsneMap, { plot, drawn: performance.now() });

  const redraw = async () => {
    ({ colors, z } = palettes(current));
    plot.set({ pointColor: colors });
    await plot.draw({ x, y, z }, { zDataType: "categorical", spatialIndex: plot.get("spatialIndex"), preventFilterReset: true });
    applyFilter();
    names();
  };
  dark.addEventListener("change", () => { plot.set({ backgroundColor: ground() }); redraw(); });

  // ----------------------------------------------------------------------------------------- names on the map
  const spans = [];
  const names = () => {
    const stage = $("names");
    stage.replaceChildren();
    spans.length = 0;
    for (const [label, row] of (current?.anchors && $("names-on").ariaPressed === "true") ? current.anchors : []) {
      const span = document.createElement("span");
      span.textContent = current.names[label];
      stage.append(span);
      spans.push([span, label, row]);
    }
    for (const one of spans) one.push(one[0].offsetWidth / 2, one[0].offsetHeight / 2);
    follow();
  };
  // While the map moves, sizes are not asked for: each answer would lay out the page anew, 0.02 s for all names.
  const follow = () => {
    const taken = [], width = $("names").clientWidth;
    for (const [span, label, row, across, down] of spans) {
      const place = plot.getScreenPosition(row), [x, y] = place ?? [0, 0];
      span.style.transform = `translate(${x - across}px, ${y - down}px)`;
      const box = { left: x - across, right: x + across, top: y - down, bottom: y + down };
      const seen = place && !hiddenLabels.has(label) && box.right > 0 && box.left < width
        && !taken.some((other) => box.left < other.right && box.right > other.left && box.top < other.bottom && box.bottom > other.top);
      span.style.visibility = seen ? "visible" : "hidden";
      if (seen) taken.push(box);
    }
  };
  plot.subscribe("view", follow);
  window.addEventListener("resize", () => requestAnimationFrame(follow));

  // ------------------------------------------------------------------------------------------------------ filters
  const applyFilter = () => {
    let kept = null;
    if (current?.kind === "kinds" && hiddenLabels.size) {
      kept = [];
      for (let i = 0; i < n; i++) if (!hiddenLabels.has(current.codes[i])) kept.push(i);
    } else if (current?.kind === "numbers" && ($("from").value !== "" || $("to").value !== "")) {
      const low = $("from").value === "" ? -Infinity : Number($("from").value);
      const high = $("to").value === "" ? Infinity : Number($("to").value);
      kept = [];
      for (let i = 0; i < n; i++) if (current.values[i] >= low && current.values[i] <= high) kept.push(i);
    }
    window.tsneMap.kept = kept === null ? n : kept.length;
    if (kept === null || kept.length === n) plot.unfilter(); else plot.filter(kept);
    $("found").textContent = kept === null ? "" : `${whole.format(kept.length)} of ${whole.format(n)} rows shown`;
    follow();
  };
  function listKinds() {
    $("kinds").hidden = current?.kind !== "kinds";
    $("numbers").hidden = current?.kind !== "numbers";
    const list = $("list");
    list.replaceChildren();
    if (current?.kind === "numbers") {
      const bar = $("bar").getContext("2d");
      for (let at = 0; at < 256; at++) { bar.fillStyle = shade(at / 255); bar.fillRect(at, 0, 1, 12); }
      $("from").placeholder = short(current.low);
      $("to").placeholder = short(current.high);
    }
    if (current?.kind !== "kinds") return;
    const order = current.names.map((_, at) => at);
    // A list of thousands begins with the labels that the most rows have; the search finds the others.
    if (order.length > meta.palette.length) order.sort((a, b) => current.counts[b] - current.counts[a]);
    if (current.missing) order.push(current.names.length);
    for (const label of order.slice(0, 500)) {
      const item = document.createElement("li"), row = document.createElement("label"), box = document.createElement("input");
      const dot = document.createElement("i"), name = document.createElement("span"), count = document.createElement("small");
      box.type = "checkbox";
      box.checked = !hiddenLabels.has(label);
      row.classList.toggle("off", !box.checked);
      dot.style.background = current.colorOf(label);
      name.textContent = name.title = current.names[label] ?? "missing";
      count.textContent = whole.format(current.counts[label] ?? current.missing);
      box.addEventListener("change", () => {
        if (box.checked) hiddenLabels.delete(label); else hiddenLabels.add(label);
        row.classList.toggle("off", !box.checked);
        applyFilter();
      });
      row.append(box, dot, name, count);
      item.append(row);
      list.append(item);
    }
    if (order.length > 500) {
      const item = document.createElement("li");
      item.textContent = `and ${whole.format(order.length - 500)} more; search finds them`;
      list.append(item);
    }
  }
  $("all").addEventListener("click", () => { hiddenLabels.clear(); listKinds(); applyFilter(); });
  $("none").addEventListener("click", () => {
    for (let label = 0; label <= current.names.length; label++) hiddenLabels.add(label);
    listKinds();
    applyFilter();
  });
  for (const id of ["from", "to"]) $(id).addEventListener("change", applyFilter);
  $("names-on").addEventListener("click", () => {
    $("names-on").ariaPressed = $("names-on").ariaPressed === "true" ? "false" : "true";
    names();
  });

  // ---------------------------------------------------------------------------------------------------- colour by
  const choices = columns.filter((column) => column.kind !== "texts");
  $("by-row").hidden = choices.length < 2;
  for (const column of choices) {
    const choice = document.createElement("option");
    choice.value = column.at;
    choice.textContent = column.name;
    $("by").append(choice);
  }
  $("by").addEventListener("change", async () => {
    current = columns[Number($("by").value)];
    hiddenLabels.clear();
    $("from").value = $("to").value = "";
    await redraw();
    listKinds();
  });

  // ------------------------------------------------------------------------------------------- a row under the mouse
  const tip = $("tip");
  let mouse = [0, 0];
  canvas.addEventListener("mousemove", (event) => { mouse = [event.offsetX, event.offsetY]; });
  const line = (name, value) => {
    const row = document.createElement("div"), head = document.createElement("b");
    head.textContent = name;
    row.append(head, " ", value);
    return row;
  };
  plot.subscribe("pointover", (i) => {
    tip.replaceChildren(line("row", whole.format(rowOf(i))), ...columns.map((column) => line(column.name, cell(column, i))));
    tip.hidden = false;
    const stage = $("stage").getBoundingClientRect(), [across, down] = plot.getScreenPosition(i) ?? mouse;
    tip.style.left = `${Math.min(across + 14, stage.width - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(down + 14, stage.height - tip.offsetHeight - 8)}px`;
  });
  plot.subscribe("pointout", () => { tip.hidden = true; });

  // ---------------------------------------------------------------------------------------------------- selection
  let selected = [];
  const show = () => {
    $("selection").hidden = !selected.length;
    $("selected").textContent = `${whole.format(selected.length)} ${selected.length === 1 ? "row" : "rows"} selected`;
    const shares = $("shares");
    shares.replaceChildren();
    if (current?.kind !== "kinds") return;
    const counts = new Map();
    for (const i of selected) counts.set(current.codes[i], (counts.get(current.codes[i]) ?? 0) + 1);
    for (const [label, count] of [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8)) {
      const item = document.createElement("li"), dot = document.createElement("i"), name = document.createElement("span");
      const share = document.createElement("small");
      dot.style.background = current.colorOf(label);
      name.textContent = current.names[label] ?? "missing";
      share.textContent = `${whole.format(count)} (${(100 * count / selected.length).toFixed(1)} %)`;
      item.append(dot, name, share);
      shares.append(item);
    }
  };
  plot.subscribe("select", ({ points }) => { selected = Array.from(points); show(); });
  plot.subscribe("deselect", () => { selected = []; show(); });
  $("clear").addEventListener("click", () => plot.deselect());
  const quoted = (value, words) => {
    let text = String(value);
    // A spreadsheet would take a cell that begins like a formula for one.
    if (words && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
  };
  // The fewest digits that tell the number from all others of 32 bits.
  const shortest = (value) => {
    if (!Number.isFinite(value)) return "";
    for (let digits = 6; digits < 9; digits++) {
      const number = Number(value.toPrecision(digits));
      if (Math.fround(number) === value) return number;
    }
    return Number(value.toPrecision(9));
  };
  window.tsneMap.csv = () => {
    const lines = [["row", ...columns.map((column) => quoted(column.name, true))].join(",")];
    for (const i of selected.slice().sort((a, b) => a - b)) {
      const cells = columns.map((column) => column.kind === "numbers"
        ? shortest(column.values[i])
        : quoted(column.kind === "kinds" ? column.names[column.codes[i]] ?? "" : column.texts[i], true));
      lines.push([rowOf(i), ...cells].join(","));
    }
    return lines.join("\n") + "\n";
  };
  $("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([window.tsneMap.csv()], { type: "text/csv" }));
    link.download = "selected-rows.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // ------------------------------------------------------------------------------------------------------- search
  const matches = (text) => {
    if (/^\d[\d,]*$/.test(text)) {
      const i = indexOf(Number(text.replaceAll(",", "")));
      if (i >= 0) return [i];
    }
    const wanted = text.toLowerCase(), found = [];
    for (const column of columns) {
      if (column.kind === "kinds") {
        const labels = new Set();
        column.names.forEach((name, label) => { if (name.toLowerCase().includes(wanted)) labels.add(label); });
        if (labels.size) for (let i = 0; i < n && found.length < MOST_FOUND; i++) if (labels.has(column.codes[i])) found.push(i);
      } else if (column.kind === "texts") {
        for (let i = 0; i < n && found.length < MOST_FOUND; i++) if (column.texts[i].toLowerCase().includes(wanted)) found.push(i);
      }
      if (found.length) break;
    }
    return found;
  };
  let waiting = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const text = $("search").value.trim();
      if (!text) { $("found").textContent = ""; plot.deselect(); return; }
      const found = matches(text);
      $("found").textContent = found.length ? `${whole.format(found.length)}${found.length === MOST_FOUND ? " or more" : ""} found` : "nothing found";
      if (!found.length) { plot.deselect(); return; }
      plot.select(found);
      if (found.length === 1) plot.zoomToLocation([x[found[0]], y[found[0]]], 0.2, { transition: true });
    }, 150);
  });

  // --------------------------------------------------------------------------------------------- tools and keyboard
  const pan = (dx, dy) => { const view = Float32Array.from(plot.get("cameraView")); view[12] += dx; view[13] += dy; plot.view(view); };
  const zoom = (by) => {
    const view = Float32Array.from(plot.get("cameraView"));
    for (const at of [0, 5, 12, 13]) view[at] *= by;
    plot.view(view);
  };
  const lasso = (on) => { plot.set({ mouseMode: on ? "lasso" : "panZoom" }); $("lasso").ariaPressed = String(on); };
  $("lasso").addEventListener("click", () => lasso($("lasso").ariaPressed !== "true"));
  $("nearer").addEventListener("click", () => zoom(1.4));
  $("farther").addEventListener("click", () => zoom(1 / 1.4));
  $("whole").addEventListener("click", () => plot.reset());
  const keys = {
    ArrowLeft: () => pan(0.1, 0), ArrowRight: () => pan(-0.1, 0), ArrowUp: () => pan(0, -0.1), ArrowDown: () => pan(0, 0.1),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => plot.reset(),
    Escape: () => { plot.deselect(); lasso(false); }, l: () => lasso($("lasso").ariaPressed !== "true"),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  names();
  Object.assign(window.tsneMap, { pan, zoom, applyFilter, moves, ready: performance.now() });
})();
