// The page: a question about an image, asked of one model or of two, and what becomes of the answer.

import * as api from "./api.js";
import { byId, make, shortened } from "./dom.js";
import { listenForImages, readImage } from "./images.js";
import { Pane } from "./pane.js";
import { readFragment, writeFragment } from "./permalink.js";
import { MODES } from "./questions.js";
import { SnippetPanel } from "./snippet_panel.js";
import { listenForTheme } from "./theme.js";

const TOAST_MS = 12_000;
const PARAGRAPH_TOKENS = 256; // twice as many as the server writes by itself
const SHOWN_MODES = ["locate", "caption", "ask", "chat"];

const state = {
  mode: "locate",
  texts: { locate: "", ask: "", chat: "" },
  ground: { caption: true, ask: false, chat: false }, // whether objects in the answer are marked
  scenes: [], // the server's example images
  scene: null, // the scene that is shown; null: an image of the visitor
  image: null,
  region: null,
  models: [],
  maxTokens: PARAGRAPH_TOKENS,
  saving: "Looking at the server…", // why records cannot be saved
};
const snippets = ["a", "b"].map(() => new SnippetPanel());
const panes = ["a", "b"].map((name, index) => new Pane(byId(`stage-${name}`), byId(`answer-${name}`), snippets[index].element));
let running = null; // AbortController of the question that is being answered

// Sentences for the visitor.

let toastTimer;

function tell(sentence) {
  byId("toast").textContent = sentence;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (byId("toast").textContent = ""), TOAST_MS);
}

/** Return a function that does the same and tells the visitor what went wrong. */
function telling(action) {
  return async (...values) => {
    try {
      return await action(...values);
    } catch (error) {
      return tell(error.message);
    }
  };
}

// The image.

const useFile = telling(async (blob, name) => useImage(await readImage(blob, name), null));

const useScene = telling(async (scene) => {
  const response = await fetch(scene.url);
  if (!response.ok) throw new Error("The example scene cannot be loaded: check that the server runs.");
  useImage(await readImage(await response.blob(), scene.url.split("/").pop()), scene);
});

function useImage(image, scene) {
  stop();
  const before = state.scene;
  Object.assign(state, { image, scene, region: null });
  for (const pane of panes) pane.showImage({ ...image, alt: scene?.title ?? image.name });
  for (const pane of panes) pane.newDialogue();
  if (scene) fillExamples(before, scene);
  for (const button of byId("scenes").children) button.setAttribute("aria-pressed", button.dataset.scene === scene?.name);
  if (image.reduced) tell(`The image was made smaller: ${image.width} × ${image.height} pixels.`);
  drawControls();
}

const examplesOf = (scene, mode) => scene[mode === "locate" ? "locate" : "ask"];

/** Put the example questions of a scene where the visitor has not written anything. */
function fillExamples(before, scene) {
  for (const mode of Object.keys(state.texts)) {
    const text = state.texts[mode];
    if (!text || (before && examplesOf(before, mode).includes(text))) state.texts[mode] = examplesOf(scene, mode)[0] ?? "";
  }
}

function buildScenes() {
  const buttons = state.scenes.map((scene) =>
    make(
      "button",
      { type: "button", "data-scene": scene.name, "aria-pressed": "false", onclick: () => useScene(scene) },
      make("img", { src: scene.url, alt: scene.title, width: 96, height: 64 }),
    ),
  );
  byId("scenes").replaceChildren(...buttons);
}

/** Offer the other questions that fit the scene. */
function drawExamples() {
  const texts = state.mode === "caption" || !state.scene ? [] : examplesOf(state.scene, state.mode);
  const choose = (text) => () => {
    state.texts[state.mode] = text;
    drawControls();
    run(state.mode);
  };
  const others = texts.filter((text) => text !== state.texts[state.mode]);
  byId("examples").replaceChildren(...others.map((text) => make("button", { type: "button", onclick: choose(text) }, text)));
  byId("examples").hidden = !others.length;
}

// The controls.

const comparing = () => Boolean(byId("compare").value);
const shownPanes = () => (comparing() ? panes : panes.slice(0, 1));
const modelOf = (index) => (index ? byId("compare").value : byId("model").value);

function drawControls() {
  const { mode, region } = state;
  document.querySelector(`input[name="mode"][value="${mode}"]`).checked = true;
  byId("hint").textContent = MODES[mode].hint;
  byId("run").textContent = MODES[mode].button;
  byId("details").hidden = mode !== "caption";
  byId("prompt").hidden = mode === "caption";
  if (mode in state.texts && byId("text").value !== state.texts[mode]) byId("text").value = state.texts[mode];
  byId("option-boxes").hidden = byId("option-zoom").hidden = mode !== "locate";
  byId("option-ground").hidden = mode === "locate";
  byId("ground").checked = Boolean(state.ground[mode]);
  byId("new-dialogue").hidden = mode !== "chat";
  byId("describe").hidden = byId("clear-region").hidden = !region;
  byId("draw").hidden = Boolean(region);
  for (const pane of panes) pane.region = region;
  drawExamples();
  writeLink();
}

const checked = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

function settings() {
  return {
    boxes: Math.min(Math.max(byId("boxes").valueAsNumber || 1, 1), 9),
    zoom: byId("zoom").checked,
    detailed: checked("detailed") === "detailed",
    ground: state.ground[state.mode] ?? null,
  };
}

function writeLink() {
  const text = state.texts[state.mode] ?? "";
  const fragment = writeFragment({ mode: state.mode, text, scene: state.scene?.name ?? "", ...settings() });
  history.replaceState(null, "", fragment);
}

/** Take over what a permalink says, but for its scene. */
function restore(link) {
  state.mode = link.mode;
  if (link.mode in state.texts) state.texts[link.mode] = link.text;
  byId("boxes").value = link.boxes;
  byId("zoom").checked = link.zoom;
  if (link.ground !== null && link.mode in state.ground) state.ground[link.mode] = link.ground;
  document.querySelector(`input[name="detailed"][value="${link.detailed ? "detailed" : "brief"}"]`).checked = true;
}

function listenToControls() {
  for (const input of document.querySelectorAll('input[name="mode"]')) {
    input.onchange = () => {
      state.mode = input.value;
      drawControls();
    };
  }
  byId("ground").onchange = () => {
    state.ground[state.mode] = byId("ground").checked;
    writeLink();
  };
  for (const id of ["details", "boxes", "zoom"]) byId(id).addEventListener("change", writeLink);
  byId("text").oninput = () => {
    state.texts[state.mode] = byId("text").value;
    writeLink();
  };
  byId("text").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("question").requestSubmit();
  };
  byId("question").onsubmit = (event) => {
    event.preventDefault();
    run(state.mode);
  };
  byId("stop").onclick = stop;
  byId("new-dialogue").onclick = () => {
    stop();
    for (const pane of panes) pane.newDialogue();
    byId("text").focus();
  };
  byId("threshold").oninput = () => {
    const { valueAsNumber } = byId("threshold");
    document.querySelector('output[for="threshold"]').value = valueAsNumber.toFixed(2);
    for (const pane of panes) pane.threshold = valueAsNumber;
  };
  byId("copy-link").onclick = telling(async () => {
    await navigator.clipboard.writeText(location.href);
    tell("The link is in the clipboard.");
  });
  byId("compare").onchange = byId("model").onchange = drawModels;
}

function listenToRegion() {
  // A click that has no pointer comes from the keyboard.
  byId("draw").onclick = (event) => (event.detail === 0 ? panes[0].drawInTheMiddle() : toggleDrawing());
  byId("describe").onclick = () => run("describe");
  byId("clear-region").onclick = () => setRegion(null);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const pane of panes) pane.stopDrawing();
  });
  for (const pane of panes) {
    pane.addEventListener("region", ({ detail: { box } }) => setRegion(box));
    pane.addEventListener("drawing", ({ detail: { drawing } }) => {
      byId("draw").setAttribute("aria-pressed", drawing);
      byId("draw").textContent = drawing ? "Drag over the image…" : "Draw a box";
    });
  }
}

function toggleDrawing() {
  for (const pane of shownPanes()) pane.drawing ? pane.stopDrawing() : pane.startDrawing();
}

function setRegion(box) {
  for (const pane of panes) pane.stopDrawing();
  const had = Boolean(state.region);
  state.region = box;
  drawControls();
  if (had && !box) byId("draw").focus();
}

// Questions and answers.

function stop() {
  running?.abort();
}

/** Ask in a mode, of each model that is shown; an earlier question that is not answered yet is stopped. */
async function run(mode) {
  stop();
  const question = { mode, text: (state.texts[mode] ?? "").trim(), region: state.region, image: state.image, maxTokens: state.maxTokens, ...settings() };
  if (!state.image) return tell("Choose an image first.");
  if (MODES[mode].missing && !question.text) {
    byId("text").focus();
    return tell(MODES[mode].missing);
  }
  const controller = (running = new AbortController());
  setBusy(true);
  await Promise.all(shownPanes().map((pane, index) => answer(pane, index, question, controller)));
  if (running !== controller) return;
  running = null;
  setBusy(false);
  if (mode === "chat" && panes[0].answer?.whole) {
    state.texts.chat = "";
    drawControls();
  }
}

function setBusy(busy) {
  byId("stop").hidden = !busy;
  byId("question").setAttribute("aria-busy", busy);
  if (!busy && document.activeElement === document.body) byId("run").focus();
}

async function answer(pane, index, question, { signal }) {
  const asked = { ...question, turns: pane.turns };
  const { path } = MODES[question.mode];
  const body = { ...MODES[question.mode].body(asked), ...(state.models.length > 1 && { model: modelOf(index) }) };
  pane.begin({ ...asked, path, body, scene: state.scene });
  const started = performance.now();
  try {
    for await (const { event, data } of api.stream(path, { ...body, image: question.image.dataUrl }, signal)) {
      signal.throwIfAborted();
      if (event === "error") throw new Error(data.error.message);
      if (event === "token") pane.update(data);
      if (event === "answer") pane.finish(data, performance.now() - started);
    }
  } catch (error) {
    if (signal.aborted) pane.stop("Stopped");
    else fail(pane, error);
  }
}

function fail(pane, error) {
  pane.fail(error.message);
  if (error.status === 401) askForToken();
}

/** Show the distribution of a phrase, which is asked for when it is wanted first. */
async function showHeatmap(pane, index, phrase) {
  const { image, mode } = pane.asked;
  const text = mode === "locate" ? pane.asked.text : `[${pane.answer.phrases[phrase].phrase.replace(/[[\]()\\]/g, "\\$&")}]`;
  const body = { text, heatmap: true, image: image.dataUrl, ...(state.models.length > 1 && { model: modelOf(index) }) };
  const shown = pane.answer;
  const { phrases } = await api.post(MODES.locate.path, body);
  if (pane.answer !== shown) return; // another answer came meanwhile
  if (mode === "locate") phrases.forEach(({ heatmap }, other) => (shown.phrases[other].heatmap = heatmap));
  else shown.phrases[phrase].heatmap = phrases[0].heatmap;
  pane.showHeatmap(phrase);
}

async function saveRecord(pane) {
  const { asked, answer } = pane;
  const item = MODES[asked.mode].item(asked, answer);
  const { count, file } = await api.post("v1/records", { image: asked.image.dataUrl, items: [item] });
  tell(`Saved as record ${count} in ${file}.`);
}

function listenToPanes() {
  panes.forEach((pane, index) => {
    pane.addEventListener("heatmap", telling(({ detail }) => showHeatmap(pane, index, detail.index)));
    pane.addEventListener("save", telling(() => saveRecord(pane)));
    pane.addEventListener("answer", () => snippets[index].show(pane.asked, pane.answer));
  });
}

// The server.

function askForToken() {
  const dialog = byId("token-dialog");
  dialog.onclose = () => {
    if (dialog.returnValue !== "use") return;
    api.setToken(byId("token").value);
    byId("token").value = "";
    loadServer();
  };
  dialog.showModal();
}

/** Learn what the server has: its models, its example images, and whether it saves records. */
async function loadServer(sceneName) {
  try {
    const { models, records, examples, max_tokens } = await api.get("v1/info");
    // Addresses from the page's own, which may be below a proxy's prefix.
    const scenes = examples.map((scene) => ({ ...scene, url: scene.url.replace(/^\//, "") }));
    Object.assign(state, { models, scenes, maxTokens: Math.min(PARAGRAPH_TOKENS, max_tokens) });
    state.saving = records ? "" : "Start the server with --records to save records.";
  } catch (error) {
    if (error.status !== 401) return tell(error.message);
    if (api.hasToken()) tell(error.message);
    return askForToken();
  }
  buildModels();
  buildScenes();
  const scene = state.scenes.find(({ name }) => name === sceneName) ?? state.scenes[0];
  if (scene && !state.image) await useScene(scene);
}

function buildModels() {
  const options = () => state.models.map((id) => make("option", { value: id }, id));
  byId("model").replaceChildren(...options());
  byId("compare").replaceChildren(make("option", { value: "" }, "none"), ...options());
  byId("option-model").hidden = byId("option-compare").hidden = state.models.length < 2;
  drawModels();
}

function drawModels() {
  const both = comparing();
  document.querySelector("main").classList.toggle("comparing", both);
  byId("stage-b").hidden = byId("answer-b").hidden = !both;
  panes.forEach((pane, index) => {
    pane.title = both ? modelOf(index) : "";
    pane.clear();
    pane.saving = state.saving;
  });
}

async function start() {
  listenForTheme();
  listenToControls();
  listenToRegion();
  listenToPanes();
  listenForImages({ use: useFile, usePicture: (image) => useImage(image, null), tell });
  api.restoreToken();
  const link = readFragment(location.hash, SHOWN_MODES);
  if (link) restore(link);
  drawControls();
  await loadServer(link?.scene);
}

start();
