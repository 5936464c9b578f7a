"use strict";
// The view of a restoration in a client that speaks MCP Apps: shows the run's report, and runs again with what is chosen.
const controls = document.getElementById("again");
const profiles = controls.querySelector("select");
const told = document.getElementById("told");
const waiting = new Map();
let number = 0;
let wishes = {};
let taken = [];

function send(method, params) {
  parent.postMessage({ jsonrpc: "2.0", method, params }, "*");
}

function ask(method, params) {
  number += 1;
  parent.postMessage({ jsonrpc: "2.0", id: number, method, params }, "*");
  return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
}

function say(text, isError = false) {
  told.textContent = text;
  told.className = isError ? "status error" : "status";
  told.hidden = !text;
}

function wear(context) {
  if (context?.theme) root.dataset.theme = context.theme;
}

async function present(result) {
  const report = result.structuredContent;
  if (result.isError || !report) {
    say(result.content?.find((block) => block.type === "text")?.text ?? "The restoration gave no result.", true);
    return;
  }
  taken = report.steps;
  const read = await ask("resources/read", { uri: `run://${report.run}/report` });
  const page = new DOMParser().parseFromString(read.contents[0].text, "text/html");
  for (const name of ["header", "main"]) {
    document.querySelector(name).replaceChildren(...page.querySelector(name).childNodes);
  }
  setUp(document.querySelector("main"));
  offer();
  controls.hidden = false;
  say([`Saved as ${report.file}.`, ...report.warnings].join(" "));
}

// A button on every candidate that was not chosen.
function offer() {
  for (const card of document.querySelectorAll("#candidates ~ div .card.lost:not(:has(.error))")) {
    const { expert } = card.dataset;
    const { task } = card.closest("article").dataset;
    if (expert !== "keep_input" && task === "face_restoration") continue;
    if (expert === "keep_input" && taken.length < 2) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "choose";
    button.textContent = expert === "keep_input" ? "Leave this step out" : "Use this one";
    const step = card.closest("article").querySelector("h3");
    button.setAttribute("aria-label", `${button.textContent}: ${card.querySelector("h4").textContent}, ${step.textContent}`);
    button.addEventListener("click", () => again(chosen(task, expert)));
    card.append(button);
  }
}

// What to wish for so that this candidate is taken: the others as they are, so that only this step changes.
function chosen(task, expert) {
  const done = taken.filter((step) => step.expert !== "keep_input" && step.expert !== "faces");
  const kept = done.filter((step) => step.step.split(" ")[0] !== task).map((step) => step.expert);
  const tasks = [...new Set(taken.map((step) => step.step.split(" ")[0]))];
  return expert === "keep_input"
    ? { experts: kept, plan: tasks.filter((name) => name !== task) }
    : { experts: [...kept, expert], plan: tasks };
}

async function again(changes) {
  const buttons = document.querySelectorAll("button, select");
  wishes = { ...wishes, ...changes };
  say("Restoring again. This takes as long as the first time.");
  for (const button of buttons) button.disabled = true;
  try {
    const result = await ask("tools/call", { name: "restore_to_4k", arguments: wishes });
    await present(result);
    if (!result.isError) tellModel(result.structuredContent);
  } catch (error) {
    say(error.message, true);
  } finally {
    for (const button of buttons) button.disabled = false;
    told.focus();
  }
}

function tellModel(report) {
  const text = `In the view, the user had the photo restored again, as ${JSON.stringify(wishes)}. ${report.summary} ` +
    `The new image is ${report.image.handle}.`;
  ask("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
}

async function listProfiles() {
  const listed = await ask("tools/call", { name: "list_profiles", arguments: {} });
  for (const profile of listed.structuredContent.profiles) {
    const option = new Option(`${profile.name}: ${profile.about}`, profile.name);
    option.selected = profile.name === (wishes.profile ?? "default");
    profiles.append(option);
  }
}

const heard = {
  "ui/notifications/tool-input": (params) => { wishes = params.arguments ?? {}; },
  "ui/notifications/tool-result": (params) => present(params).catch((error) => say(error.message, true)),
  "ui/notifications/tool-cancelled": () => say("The restoration was cancelled.", true),
  "ui/notifications/host-context-changed": wear,
};

addEventListener("message", ({ data, source }) => {
  if (source !== parent || data?.jsonrpc !== "2.0") return;
  if (data.method) {
    heard[data.method]?.(data.params);
    if (data.id !== undefined) parent.postMessage({ jsonrpc: "2.0", id: data.id, result: {} }, "*");
    return;
  }
  const { resolve, reject } = waiting.get(data.id) ?? {};
  waiting.delete(data.id);
  if (data.error) reject?.(new Error(data.error.message));
  else resolve?.(data.result);
});

// No form: clients do not let framed pages submit any.
controls.querySelector("button").addEventListener("click", () => {
  const { experts, plan, ...others } = wishes;
  wishes = others;
  again({ profile: profiles.value });
});

ask("ui/initialize", {
  protocolVersion: "2026-01-26",
  appInfo: { name: "restore4k", version: "1" },
  appCapabilities: {},
}).then((host) => {
  wear(host.hostContext);
  send("ui/notifications/initialized", {});
  new ResizeObserver(() => {
    const height = Math.ceil(document.body.getBoundingClientRect().height);
    send("ui/notifications/size-changed", { width: root.clientWidth, height });
  }).observe(document.body);
  return listProfiles();
}).catch((error) => say(error.message, true));
