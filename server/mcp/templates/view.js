"use strict";
// The view of a restoration in a client that supports MCP Apps: shows the report of the run, and restores again with other
// options.
const controls = document.getElementById("controls");
const profiles = controls.querySelector("select");
const [strength, detail, region] = ["strength", "detail", "region"].map((name) => controls.querySelector(`[name=${name}]`));
const picker = document.getElementById("picker");
const seen = document.getElementById("seen");
const statusLine = document.getElementById("status");
const pending = new Map();
let number = 0;
let options = {};
let steps = [];
let shownReport = null;
let box = null; // The region as left, top, width and height in fractions; null: the whole picture, or another form.

function notify(method, params) {
  parent.postMessage({ jsonrpc: "2.0", method, params }, "*");
}

function request(method, params) {
  number += 1;
  parent.postMessage({ jsonrpc: "2.0", id: number, method, params }, "*");
  return new Promise((resolve, reject) => pending.set(number, { resolve, reject }));
}

function showStatus(text, isError = false) {
  statusLine.textContent = text;
  statusLine.className = isError ? "status error" : "status";
  statusLine.hidden = !text;
}

function applyTheme(context) {
  if (context?.theme) root.dataset.theme = context.theme;
}

async function showResult(result, isAgain = false) {
  const report = result._meta?.["restore4k/report"];
  if (result.isError || !report) {
    const text = result.content?.find((block) => block.type === "text")?.text ?? "The restoration gave no result.";
    const run = /^state: (running|queued)/m.test(text) && text.match(/^run: (\S+)$/m)?.[1];
    if (!run) return showStatus(text, true);
    showStatus(text.replaceAll("\n", " · "));
    return showResult(await request("tools/call", { name: "get_run", arguments: { run } }), isAgain);
  }
  steps = report.steps;
  shownReport = report;
  seen.hidden = true;
  const read = await request("resources/read", { uri: `run://${report.run}/report` });
  const page = new DOMParser().parseFromString(read.contents[0].text, "text/html");
  for (const name of ["header", "main"]) {
    document.querySelector(name).replaceChildren(...page.querySelector(name).childNodes);
  }
  setUp(document.querySelector("main"));
  strength.value = options.strength ?? 1;
  turnDetail(options.detail);
  if (!isAgain) region.value = options.region ?? "";
  picker.querySelector("img").src = document.querySelector("main > .compare figure:last-of-type img")?.src ?? "";
  readRegion();
  addChoiceButtons();
  controls.hidden = false;
  showStatus([`Saved as ${report.file}.`, ...report.warnings].join(" "));
  if (isAgain) updateModelContext(report);
}

// Adds a button to every path and candidate that was not chosen.
function addChoiceButtons() {
  for (const card of document.querySelectorAll(":is(#paths, #candidates) ~ div .card.lost:not(:has(.error))")) {
    const { expert } = card.dataset;
    const { task } = card.closest("article").dataset;
    if (expert !== "keep_input" && task === "face_restoration") continue;
    if (expert === "keep_input" && steps.length < 2) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "choose";
    const name = card.querySelector("ol") ? "Take this path" : "Use this one";
    button.textContent = expert === "keep_input" ? "Leave this step out" : name;
    const step = card.closest("article").querySelector("h3");
    button.setAttribute("aria-label", `${button.textContent}: ${card.querySelector("h4").textContent}, ${step.textContent}`);
    button.addEventListener("click", () => restoreAgain(optionsWith(task, expert)));
    card.append(button);
  }
}

// Options of a restoration in which this candidate wins its step and the other steps keep their experts. A candidate
// on the photo before cleaning leaves out the steps before it.
function optionsWith(task, expert) {
  const taken = steps.map((step) => ({ task: step.step.split(" ")[0], expert: step.expert }));
  if (!taken.some((step) => step.task === task)) taken.unshift({ task, expert }); // it was rolled back
  const first = expert.endsWith(".untouched") ? taken.findIndex((step) => step.task === task) : 0;
  const kept = taken.slice(first).filter((step) => expert !== "keep_input" || step.task !== task);
  const winners = kept.map((step) => (step.task === task ? expert : step.expert)).flatMap(namesOf);
  return { experts: [...new Set(winners)].join(", "), plan: [...new Set(kept.map((step) => step.task))].join(", ") };
}

// The experts behind a candidate: two are mixed, and a suffix names the path. Only the half cleaned one is asked for by
// its suffix: the plan says whether there is any cleaning.
function namesOf(candidate) {
  if (candidate === "keep_input" || candidate === "faces") return [];
  const names = candidate.split("+");
  return names.map((name) => name.replace(names.length > 1 ? /\.(untouched|half_cleaned)$/ : /\.untouched$/, ""));
}

async function restoreAgain(changes) {
  const buttons = document.querySelectorAll("button, select, #controls input");
  options = { ...options, ...changes };
  showStatus("Restoring again. This takes as long as the first time.");
  for (const button of buttons) button.disabled = true;
  try {
    const result = await request("tools/call", { name: "restore_to_4k", arguments: options });
    await showResult(result, true);
  } catch (error) {
    showStatus(error.message, true);
  } finally {
    for (const button of buttons) button.disabled = false;
    statusLine.focus();
  }
}

// Undefined: the profile decides.
function turnDetail(value) {
  detail.dataset.chosen = value ?? "";
  detail.value = value ?? 0;
  detail.setAttribute("aria-valuetext", value === undefined ? "as the profile says" : `${value} of 1, textured`);
}

function readRegion() {
  const numbers = region.value.split(/[\s,;]+/).filter(Boolean).map(Number);
  const fits = numbers.length === 4 && numbers.every((each) => each >= 0 && each <= 1);
  box = fits ? numbers : null;
  drawBox();
}

function setBox(left, top, width, height) {
  width = Math.min(1, Math.max(0.02, width));
  height = Math.min(1, Math.max(0.02, height));
  box = [Math.min(1 - width, Math.max(0, left)), Math.min(1 - height, Math.max(0, top)), width, height];
  region.value = box.map((each) => each.toFixed(3)).join(", ");
  drawBox();
}

function drawBox() {
  const frame = picker.querySelector("i");
  frame.hidden = !box;
  for (const [index, name] of ["--x", "--y", "--w", "--h"].entries()) frame.style.setProperty(name, box?.[index] ?? 0);
  controls.querySelector("output").textContent = box
    ? `${["left", "top", "width", "height"].map((name, index) => `${name} ${Math.round(100 * box[index])} %`).join(", ")}`
    : region.value || "the whole picture";
}

function pointIn(event) {
  const area = picker.getBoundingClientRect();
  return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
}

picker.addEventListener("pointerdown", (event) => {
  const from = pointIn(event);
  picker.setPointerCapture(event.pointerId);
  picker.onpointermove = (move) => {
    const to = pointIn(move);
    setBox(Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  };
});
for (const end of ["pointerup", "pointercancel"]) picker.addEventListener(end, () => { picker.onpointermove = null; });

picker.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    region.value = "";
    return readRegion();
  }
  const by = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05] }[event.key];
  if (!by) return;
  event.preventDefault();
  const [left, top, width, height] = box ?? [0.25, 0.25, 0.5, 0.5];
  if (event.shiftKey) setBox(left, top, width + by[0], height + by[1]);
  else setBox(left + by[0], top + by[1], width, height);
});
region.addEventListener("input", readRegion);
detail.addEventListener("input", () => turnDetail(detail.valueAsNumber));

// Both versions in the pixels of the result, side by side.
async function compare() {
  const looked = await request("tools/call", {
    name: "look",
    arguments: {
      image: shownReport.original, beside: shownReport.image.handle, scale: 1, region: region.value || "most changed",
    },
  });
  const text = looked.content.find((block) => block.type === "text")?.text ?? "";
  const picture = looked.content.find((block) => block.type === "image");
  if (looked.isError || !picture) return showStatus(text, true);
  seen.querySelector("img").src = `data:${picture.mimeType};base64,${picture.data}`;
  seen.querySelector("img").alt = "The photo and the result beside each other at 100 %";
  seen.querySelector("figcaption").textContent = text.replaceAll("\n", "; ");
  seen.hidden = false;
  showStatus(`Shown below at 100 %: ${text.split("\n")[0].replace("shown: ", "")}`);
}

function updateModelContext(report) {
  const text = `In the view, the user had the photo restored again, as ${JSON.stringify(options)}. ${report.summary} ` +
    `The new image is ${report.image.handle}.`;
  request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
}

async function listProfiles() {
  const listed = await request("tools/call", { name: "list_profiles", arguments: {} });
  for (const profile of listed.structuredContent.profiles) {
    const name = profile.split(": ")[0];
    const option = new Option(profile, name);
    option.selected = name === (options.profile ?? "default");
    profiles.append(option);
  }
}

const handlers = {
  "ui/notifications/tool-input": (params) => { options = params.arguments ?? {}; },
  "ui/notifications/tool-result": (params) => showResult(params).catch((error) => showStatus(error.message, true)),
  "ui/notifications/tool-cancelled": () => showStatus("The restoration was cancelled.", true),
  "ui/notifications/host-context-changed": applyTheme,
};

addEventListener("message", ({ data, source }) => {
  if (source !== parent || data?.jsonrpc !== "2.0") return;
  if (data.method) {
    handlers[data.method]?.(data.params);
    if (data.id !== undefined) parent.postMessage({ jsonrpc: "2.0", id: data.id, result: {} }, "*");
    return;
  }
  const { resolve, reject } = pending.get(data.id) ?? {};
  pending.delete(data.id);
  if (data.error) reject?.(new Error(data.error.message));
  else resolve?.(data.result);
});

// No form: clients do not let framed pages submit any.
controls.querySelector("[name=again]").addEventListener("click", () => {
  const { experts, plan, region: before, detail: texture, ...others } = options;
  options = others;
  const chosen = { profile: profiles.value, strength: strength.valueAsNumber };
  if (region.value.trim()) chosen.region = region.value.trim();
  if (detail.dataset.chosen) chosen.detail = detail.valueAsNumber;
  restoreAgain(chosen);
});
controls.querySelector("[name=look]").addEventListener("click", () => {
  compare().catch((error) => showStatus(error.message, true));
});

request("ui/initialize", {
  protocolVersion: "2026-01-26",
  appInfo: { name: "restore4k", version: "1" },
  appCapabilities: {},
}).then((host) => {
  applyTheme(host.hostContext);
  notify("ui/notifications/initialized", {});
  new ResizeObserver(() => {
    const height = Math.ceil(document.body.getBoundingClientRect().height);
    notify("ui/notifications/size-changed", { width: root.clientWidth, height });
  }).observe(document.body);
  return listProfiles();
}).catch((error) => showStatus(error.message, true));
