"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const hiddenMethods = new Set();
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, attributes = {}, text) => {
    const svg = ["svg", "g", "path", "line", "circle", "text", "rect"].includes(name);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Sorting ---------------------------------------------------------------------------------------------------
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return null;
    const value = cell.dataset.value ?? cell.textContent.trim();
    if (value === "" || value === "–") return null;
    return Number.isNaN(Number(value)) ? value.toLowerCase() : Number(value);
  };
  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  const sortBy = (header) => {
    const table = header.closest("table");
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "descending" ? 1
      : header.getAttribute("aria-sort") === "ascending" ? -1 : header.dataset.first === "up" ? 1 : -1;
    for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
    if (table.id === "all-runs") { sortRuns(header.dataset.key, down); return; }
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : down * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const header of all("thead th")) {
    if (!header.textContent.trim()) continue;
    const button = make("button", { type: "button" });
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(header));
    header.append(button);
  }

  // Filtering -------------------------------------------------------------------------------------------------
  const search = document.getElementById("search");
  const taskChoice = document.getElementById("task");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const element of all("[data-method]:not(.chip)")) {
      const method = element.dataset.method;
      const text = `${method} ${element.dataset.task ?? element.closest("[data-task]")?.dataset.task ?? ""}`.toLowerCase();
      const inTask = element.dataset.task === undefined || !taskChoice.value || element.dataset.task === taskChoice.value;
      element.hidden = hiddenMethods.has(method) || !inTask || !words.every((word) => text.includes(word));
    }
    for (const section of all("section[data-task]")) {
      section.hidden = Boolean(taskChoice.value) && section.dataset.task !== taskChoice.value;
    }
    for (const cell of all("[data-column]")) {
      cell.hidden = Boolean(taskChoice.value) && cell.dataset.column !== taskChoice.value;
    }
    all(".plot").forEach(draw);
    showRuns(0);
  };
  for (const chip of all(".chip[data-method]")) {
    chip.addEventListener("click", () => {
      const shown = hiddenMethods.has(chip.dataset.method);
      if (shown) hiddenMethods.delete(chip.dataset.method); else hiddenMethods.add(chip.dataset.method);
      chip.setAttribute("aria-pressed", String(shown));
      filter();
    });
  }
  search.addEventListener("input", filter);
  taskChoice.addEventListener("change", filter);

  // Curves ----------------------------------------------------------------------------------------------------
  const ticks = (low, high, log) => {
    if (log) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
        const tick = 10 ** power;
        if (tick >= low * 0.999 && tick <= high * 1.001) found.push(tick);
      }
      return found.length > 1 ? found : [low, high];
    }
    const raw = (high - low) / 7;
    const unit = 10 ** Math.floor(Math.log10(raw || 1));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((candidate) => candidate >= raw) || 1;
    const found = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) found.push(tick);
    return found;
  };
  const short = (value) => (Math.abs(value) >= 10000 ? `${+(value / 1000).toPrecision(3)}k` : String(+value.toPrecision(4)));

  function draw(plot) {
    plot.textContent = "";
    const curves = data.curves[plot.dataset.task] || {};
    const axis = plot.dataset.axis || "iteration";
    const log = plot.dataset.log === "true";
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (method) => words.every((word) => `${method} ${plot.dataset.task}`.toLowerCase().includes(word));
    const shown = Object.keys(curves).filter((method) => !hiddenMethods.has(method) && matches(method));
    const lines = shown.map((method) => ({ method, points: curves[method][axis].filter((p) => !log || p[0] > 0) }))
      .filter((line) => line.points.length > 1);
    const flat = shown.filter((method) => !lines.some((line) => line.method === method) && curves[method].stops.length);
    if (!lines.length && !flat.length) { plot.append(make("p", { class: "note" }, "No PSNR over the fit: no target, or nothing selected.")); return; }
    const width = 1180, height = 340, left = 46, right = 12, top = 8, bottom = 38;
    const xs = lines.flatMap((line) => [line.points[0][0], line.points[line.points.length - 1][0]]);
    const levels = flat.map((method) => ({ method, y: curves[method].stops.reduce((sum, stop) => sum + stop[2], 0) / curves[method].stops.length }));
    const ys = [...lines.flatMap((line) => line.points.map((p) => p[1])), ...levels.map((level) => level.y),
      ...lines.flatMap((line) => curves[line.method].stops.map((stop) => stop[2]))];
    const xLow = log ? Math.min(...xs) : 0, xHigh = Math.max(...xs, xLow + 1e-9);
    const yHigh = Math.max(...ys) + 0.4, yLow = Math.max(Math.min(...ys) - 0.4, yHigh - 22);
    const px = (x) => left + (width - left - right) * (log ? Math.log(x / xLow) / Math.log(xHigh / xLow || 1) : (x - xLow) / (xHigh - xLow || 1));
    const py = (y) => height - bottom - (height - top - bottom) * (y - yLow) / (yHigh - yLow || 1);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `PSNR against ${axis}` });
    const inside = make("g");
    for (const tick of ticks(yLow, yHigh, false)) {
      svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: py(tick), y2: py(tick) }));
      svg.append(make("text", { x: left - 6, y: py(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    if (xs.length) {
      for (const tick of ticks(xLow, xHigh, log)) {
        svg.append(make("line", { class: "grid", x1: px(tick), x2: px(tick), y1: top, y2: height - bottom }));
        svg.append(make("text", { x: px(tick), y: height - bottom + 16, "text-anchor": "middle" }, short(tick)));
      }
    }
    svg.append(make("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" },
      axis === "iteration" ? "optimiser steps" : "seconds of fitting"));
    svg.append(make("text", { x: left + 6, y: top + 12 }, "PSNR (dB)"));
    const clip = (y) => Math.max(yLow, Math.min(yHigh, y));
    for (const { method, y } of levels) {
      const style = data.styles[method];
      inside.append(make("line", { x1: left, x2: width - right, y1: py(clip(y)), y2: py(clip(y)), stroke: style[0], "stroke-dasharray": style[1], "stroke-width": 1.4, "data-curve": method }));
    }
    for (const { method, points } of lines) {
      const [stroke, dash] = data.styles[method];
      const kept = points.filter((p) => p[1] >= yLow);
      const band = [...kept.map((p) => [p[0], p[1] + p[2]]), ...kept.map((p) => [p[0], p[1] - p[2]]).reverse()];
      if (kept.some((p) => p[2] > 0)) inside.append(make("path", { d: `M${band.map((p) => `${px(p[0]).toFixed(1)},${py(clip(p[1])).toFixed(1)}`).join("L")}Z`, fill: stroke, opacity: 0.12 }));
      const path = points.map((p) => `${px(p[0]).toFixed(1)},${py(clip(p[1])).toFixed(1)}`).join("L");
      inside.append(make("path", { d: `M${path}`, fill: "none", stroke, "stroke-dasharray": dash, "stroke-width": 1.8, "data-curve": method }));
      for (const stop of curves[method].stops) {
        const x = axis === "iteration" ? stop[0] : stop[1];
        if (x > 0 && x <= xHigh * 1.0001 && stop[2] >= yLow && stop[2] <= yHigh) inside.append(make("circle", { cx: px(Math.max(x, xLow || 1e-9)), cy: py(stop[2]), r: 3.2, fill: "#fff", stroke, "stroke-width": 1.4, class: "stop" }));
      }
    }
    svg.append(inside);
    svg.append(make("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    const cross = make("line", { y1: top, y2: height - bottom, stroke: "#8a94a6", "stroke-dasharray": "3 3", visibility: "hidden" });
    svg.append(cross);
    plot.append(svg);
    hover(plot, svg, cross, lines, levels, { px, xLow, xHigh, log, left, right, width });
  }

  function hover(plot, svg, cross, lines, levels, scale) {
    const tip = make("div", { class: "tip" });
    tip.hidden = true;
    plot.append(tip);
    svg.addEventListener("mouseleave", () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); });
    svg.addEventListener("mousemove", (event) => {
      const box = svg.getBoundingClientRect();
      const part = ((event.clientX - box.left) / box.width * scale.width - scale.left) / (scale.width - scale.left - scale.right);
      if (part < 0 || part > 1 || !lines.length) { tip.hidden = true; return; }
      const x = scale.log ? scale.xLow * (scale.xHigh / scale.xLow) ** part : scale.xLow + part * (scale.xHigh - scale.xLow);
      const values = lines.map(({ method, points }) => [method, at(points, x)]).filter(([, y]) => y !== null);
      values.push(...levels.map((level) => [level.method, level.y]));
      values.sort((a, b) => b[1] - a[1]);
      tip.textContent = "";
      tip.append(make("div", {}, short(x)));
      for (const [method, y] of values) {
        const row = make("div");
        row.append(make("span", { class: "swatch", style: `border-color:${data.styles[method][0]}` }), make("span", {}, method), make("b", {}, y.toFixed(2)));
        tip.append(row);
      }
      cross.setAttribute("x1", scale.px(x)); cross.setAttribute("x2", scale.px(x)); cross.setAttribute("visibility", "visible");
      tip.hidden = false;
      tip.style.left = `${event.clientX - box.left + (part > 0.7 ? -tip.offsetWidth - 14 : 14)}px`;
      tip.style.top = `${Math.max(0, event.clientY - box.top - 20)}px`;
    });
  }
  const at = (points, x) => {
    if (x < points[0][0] || x > points[points.length - 1][0]) return null;
    const next = points.findIndex((p) => p[0] >= x);
    if (next <= 0) return points[0][1];
    const [a, b] = [points[next - 1], points[next]];
    return a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0] || 1);
  };
  for (const control of all(".controls select")) {
    control.addEventListener("change", () => {
      const plot = control.closest("section").querySelector(".plot");
      plot.dataset[control.name] = control.value;
      draw(plot);
    });
  }

  // Pictures --------------------------------------------------------------------------------------------------
  const dialog = document.querySelector("dialog");
  const stage = dialog.querySelector(".stage");
  const large = stage.querySelector("img");
  const caption = dialog.querySelector("p");
  let view = { tiles: [], at: 0, error: false, zoom: 1, x: 0, y: 0 };
  const place = () => { large.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom}) translate(-50%, -50%)`; };
  const show = () => {
    const tile = view.tiles[view.at];
    const pictures = all("img", tile);
    const picture = view.error && pictures[1] ? pictures[1] : pictures[0];
    large.src = picture.src;
    caption.textContent = `${tile.closest(".strip").querySelector("h4").firstChild.textContent} · ${tile.querySelector("figcaption").innerText.replace(/\n+/g, " · ")}${picture === pictures[1] ? " · error" : ""}`;
    place();
  };
  const move = (by) => { view.at = (view.at + by + view.tiles.length) % view.tiles.length; show(); };
  for (const button of all(".tile button")) {
    button.addEventListener("click", () => {
      const tiles = all(".tile", button.closest(".tiles")).filter((tile) => !tile.hidden);
      const picture = button.querySelector("img");
      dialog.showModal();
      const zoom = 0.92 * Math.min(stage.clientWidth / picture.naturalWidth, stage.clientHeight / picture.naturalHeight);
      view = { tiles, at: tiles.indexOf(button.closest(".tile")), error: false, zoom, x: 0, y: 0 };
      show();
    });
  }
  dialog.querySelector("[data-do=previous]").addEventListener("click", () => move(-1));
  dialog.querySelector("[data-do=next]").addEventListener("click", () => move(1));
  dialog.querySelector("[data-do=error]").addEventListener("click", () => { view.error = !view.error; show(); });
  dialog.querySelector("[data-do=close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
    if (event.key === "e") { view.error = !view.error; show(); }
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const factor = event.deltaY < 0 ? 1.2 : 1 / 1.2;
    const box = stage.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    view = { ...view, zoom: view.zoom * factor, x: x - factor * (x - view.x), y: y - factor * (y - view.y) };
    place();
  }, { passive: false });
  stage.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    view.x += event.movementX; view.y += event.movementY;
    place();
  });
  large.addEventListener("dragstart", (event) => event.preventDefault());

  // All runs --------------------------------------------------------------------------------------------------
  const PAGE = 100;
  let first = 0;
  const body = document.querySelector("#all-runs tbody");
  const columns = data.columns;
  const cell = (value, digits) => (value === null || value === undefined ? "–" : typeof value === "number" && digits >= 0 ? value.toFixed(digits) : String(value));
  const selected = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return data.runs.filter((run) => !hiddenMethods.has(run[1]) && (!taskChoice.value || run[0] === taskChoice.value)
      && words.every((word) => `${run[0]} ${run[1]} ${run[2]}`.toLowerCase().includes(word)));
  };
  function showRuns(from) {
    const runs = selected();
    first = Math.max(0, Math.min(from, Math.floor(Math.max(0, runs.length - 1) / PAGE) * PAGE));
    body.textContent = "";
    for (const run of runs.slice(first, first + PAGE)) {
      const row = make("tr");
      columns.forEach((column, place) => row.append(make("td", column.digits < 0 ? { class: "text" } : {}, cell(run[place], column.digits))));
      body.append(row);
    }
    document.getElementById("shown").textContent = runs.length ? `${first + 1}–${Math.min(first + PAGE, runs.length)} of ${runs.length}` : "none";
  }
  function sortRuns(key, down) {
    const place = columns.findIndex((column) => column.key === key);
    const missing = (value) => value === null || value === undefined;
    data.runs.sort((a, b) => (missing(a[place]) ? (missing(b[place]) ? 0 : 1) : missing(b[place]) ? -1 : down * compare(a[place], b[place])));
    showRuns(0);
  }
  document.getElementById("earlier").addEventListener("click", () => showRuns(first - PAGE));
  document.getElementById("later").addEventListener("click", () => showRuns(first + PAGE));
  window.addEventListener("beforeprint", () => all("details.paper").forEach((details) => { details.open = true; }));

  all(".plot").forEach(draw);
  showRuns(0);
})();
