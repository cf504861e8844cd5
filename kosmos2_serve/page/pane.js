// An image with its boxes, and the answer of one model about it. The page has two panes while models are compared.
//
// Events: `region` {box or null} when the visitor drew, moved or removed a box to ask about; `heatmap` {index} when
// the distribution of a phrase is wanted and not known yet; `save` when the answer shall become a training record;
// `drawing` {drawing} when drawing begins or ends; `answer` when the answer is whole, and when a box was corrected.

import { BoxEditor } from "./box_editor.js";
import { decimals, make } from "./dom.js";
import { pieces, writeMarkdown } from "./grounded_text.js";
import { drawHeatmap } from "./heatmap.js";
import { colourOf, REGION_COLOUR } from "./palette.js";

const REGION = "region"; // id of the box to ask about

const idOf = (phrase, box) => `${phrase}.${box}`;
const phraseOf = (id) => (id === null || id === REGION ? null : Number(id.split(".")[0]));
const percent = (value) => `${Math.round(100 * value)} %`;
const NO_ANSWER = { text: "", markdown: "", phrases: [] };

/** Return what the pane keeps of an answer of the server. */
function answerOf({ text, markdown, phrases, finished }) {
  const boxOf = ({ box_unit: [x1, y1, x2, y2], score }) => ({ x1, y1, x2, y2, score });
  const note = finished ? "" : "The answer was cut off";
  return { text, markdown, note, phrases: phrases.map((phrase) => ({ ...phrase, boxes: phrase.boxes.map(boxOf) })) };
}

function timesOf({ model, timings }, milliseconds) {
  const { model_s, queue_s, image_cached } = timings;
  const parts = [`${Math.round(1000 * model_s)} ms in the model${image_cached ? " (image known)" : ""}`];
  if (queue_s > 0.01) parts.push(`${Math.round(1000 * queue_s)} ms waiting`);
  return [model, ...parts, `${Math.round(milliseconds)} ms in all`].join(" · ");
}

export class Pane extends EventTarget {
  #stage;
  #section;
  #editor;
  #parts = {};
  #answer = null; // {text, markdown, phrases, note, times, whole}, corrections included
  #asked = null;
  #turns = [];
  #region = null;
  #threshold = 0.05; // as the slider starts: alternatives that are nearly impossible are noise
  #heatmap = null; // index of the phrase whose distribution is shown
  #editing = false;
  #drawsFor = null; // REGION, or the index of the phrase that gets the next box
  #saving = ""; // why not

  constructor(stage, section, snippets) {
    super();
    this.#stage = stage;
    this.#section = section;
    this.#buildStage();
    this.#buildAnswer(snippets);
    this.#listen();
  }

  // What the page tells the pane.

  /** Show an image without an answer. */
  showImage({ url, alt, width, height }) {
    const { image, canvas } = this.#parts;
    image.src = url;
    image.alt = alt;
    canvas.style.setProperty("--ratio", width / height);
    this.#region = null;
    this.clear();
  }

  /** Name the model above the image and the answer; an empty name shows none. */
  set title(name) {
    for (const heading of [this.#parts.stageTitle, this.#parts.answerTitle]) {
      heading.textContent = name;
      heading.hidden = !name;
    }
  }

  /** Say why records cannot be saved; an empty text: they can. */
  set saving(reason) {
    this.#saving = reason;
    this.#drawTools();
  }

  set region(box) {
    this.#region = box;
    this.#drawBoxes();
  }

  set threshold(value) {
    this.#threshold = value;
    this.#drawAnswer();
  }

  /** The answer as it is shown, corrections included; null: none. */
  get answer() {
    return this.#answer;
  }

  /** The question that is or was answered. */
  get asked() {
    return this.#asked;
  }

  /** The questions and whole answers of the dialogue so far. */
  get turns() {
    return this.#turns;
  }

  newDialogue() {
    this.#turns = [];
    this.clear();
  }

  /** Leave the image without an answer. */
  clear() {
    this.stopDrawing();
    this.#asked = this.#answer = this.#heatmap = null;
    this.#editing = false;
    this.#section.classList.remove("waiting");
    this.#parts.error.hidden = true;
    this.#drawAnswer();
  }

  /** Wait for the answer to a question. */
  begin(asked) {
    this.clear();
    this.#asked = asked;
    this.#section.classList.add("waiting");
    this.#drawAnswer();
  }

  /** Show the answer so far, as the server gives it. */
  update(data) {
    this.#answer = answerOf(data);
    this.#drawAnswer();
  }

  /** Show the whole answer; `seconds` passed since the question. */
  finish(data, milliseconds) {
    this.#section.classList.remove("waiting");
    const answer = answerOf(data);
    this.#answer = { ...answer, whole: true, times: timesOf(data, milliseconds) };
    if (this.#asked.mode === "chat") this.#turns = [...this.#turns, { question: this.#asked.text, answer: answer.text }];
    this.#drawAnswer();
    this.#emit("answer");
  }

  /** Keep the answer so far; `note` says why it is not whole. */
  stop(note) {
    this.#section.classList.remove("waiting");
    this.#answer = { ...(this.#answer ?? NO_ANSWER), note };
    this.#drawAnswer();
  }

  /** Show the sentence that says what went wrong. */
  fail(sentence) {
    this.#section.classList.remove("waiting");
    this.#parts.error.textContent = sentence;
    this.#parts.error.hidden = false;
    this.#drawAnswer();
  }

  /** Show the distribution of a phrase's location over the image. */
  showHeatmap(index) {
    this.#heatmap = index;
    this.#drawAnswer();
  }

  startDrawing(purpose = REGION) {
    this.#drawsFor = purpose;
    this.#editor.startDrawing();
    this.#emit("drawing", { drawing: true });
  }

  drawInTheMiddle(purpose = REGION) {
    this.#drawsFor = purpose;
    this.#editor.drawInTheMiddle();
  }

  stopDrawing() {
    if (!this.#editor.drawing) return;
    this.#editor.stopDrawing();
    this.#emit("drawing", { drawing: false });
  }

  get drawing() {
    return this.#editor.drawing;
  }

  focusRegion() {
    this.#editor.select(REGION);
    this.#editor.focus(REGION);
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Elements.

  #buildStage() {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", "Boxes");
    const stageTitle = make("h2", { hidden: true });
    const image = make("img", { draggable: "false" });
    const heat = make("canvas", { hidden: true, "aria-hidden": "true" });
    const canvas = make("div", { class: "canvas" }, image, heat, svg);
    const heatKey = make("p", { class: "heat-key", hidden: true });
    this.#stage.append(stageTitle, make("div", { class: "frame" }, canvas, heatKey));
    this.#editor = new BoxEditor(svg);
    Object.assign(this.#parts, { stageTitle, image, heat, heatKey, canvas });
  }

  #buildAnswer(snippets) {
    const parts = {
      answerTitle: make("h2", { hidden: true }),
      error: make("p", { class: "error", role: "alert", hidden: true }),
      dialogue: make("div", { class: "turns", hidden: true }),
      text: make("p", { class: "text" }),
      phrases: make("ol", { class: "phrases" }),
      timings: make("p", { class: "timings" }),
      tools: make("div", { class: "tools" }),
      status: make("p", { class: "unseen", role: "status" }),
      edit: make("button", { type: "button", "aria-pressed": "false", onclick: () => this.#toggleEditing() }, "Correct boxes"),
      save: make("button", { type: "button", onclick: () => this.#emit("save") }, "Save as training record"),
      saveNote: make("span", { class: "hint" }),
      editHint: make(
        "p",
        { class: "hint", hidden: true },
        "Select a box, then drag it or its handles. With the keyboard: Enter selects, arrows move, Tab reaches the handles, Shift makes large steps, Delete removes.",
      ),
    };
    parts.tools.append(parts.edit, parts.save, parts.saveNote);
    const order = ["error", "dialogue", "text", "phrases", "editHint", "tools", "timings", "status"];
    parts.body = make("div", { class: "body", hidden: true }, ...order.map((name) => parts[name]), snippets);
    parts.snippets = snippets;
    this.#section.append(parts.answerTitle, parts.body);
    Object.assign(this.#parts, parts);
  }

  #listen() {
    const on = (type, handler) => this.#editor.addEventListener(type, ({ detail }) => handler(detail));
    on("hover", ({ id }) => this.#highlight(id === null ? [] : [id]));
    on("select", ({ id }) => this.#highlight(id === null ? [] : [id]));
    on("change", ({ id, box }) => this.#changeBox(id, box));
    on("remove", ({ id }) => this.#removeBox(id));
    on("draw", ({ box }) => this.#addBox(box));
    on("cancel", () => this.#emit("drawing", { drawing: false }));
  }

  // The answer.

  /** Whether there is or will be an answer. */
  get #shown() {
    return Boolean(this.#asked) || !this.#parts.error.hidden || this.#turns.length > 0;
  }

  /** Return the boxes of a phrase that are shown, with their index among all of its boxes. */
  #visibleBoxes(phrase) {
    const boxes = phrase.boxes.map((box, index) => ({ ...box, index }));
    return boxes.filter(({ score }) => typeof score !== "number" || score >= this.#threshold);
  }

  /** Return whether no box of a phrase is shown; the boxes of an answer that is being generated may still come. */
  #isAbsent(phrase) {
    return this.#answer.whole && !this.#visibleBoxes(phrase).length;
  }

  #drawAnswer() {
    const { body, text, phrases, timings } = this.#parts;
    const answer = this.#answer;
    body.hidden = !this.#shown;
    this.#drawTurns();
    text.replaceChildren(...(answer ? this.#textNodes(answer) : []));
    this.#keepFocus(() =>
      phrases.replaceChildren(...(answer ? answer.phrases.map((phrase, index) => this.#phraseRow(phrase, index)) : [])),
    );
    phrases.hidden = !answer?.phrases.length;
    timings.textContent = [answer?.note, answer?.times].filter(Boolean).join(" · ");
    this.#drawTools();
    this.#drawBoxes();
    this.#drawHeatmap();
    this.#announce();
  }

  /** Replace buttons: the focus goes to the new button of the same name, or to the first of its row. */
  #keepFocus(replace) {
    const { phrases } = this.#parts;
    const focused = phrases.contains(document.activeElement) ? document.activeElement : null;
    const label = focused?.getAttribute("aria-label");
    const row = [...phrases.children].indexOf(focused?.closest("li"));
    replace();
    if (!focused) return;
    const buttons = [...phrases.querySelectorAll("button")];
    (buttons.find((button) => button.getAttribute("aria-label") === label) ?? phrases.children[row]?.querySelector("button"))?.focus();
  }

  #drawTools() {
    const { tools, edit, editHint, save, saveNote, snippets } = this.#parts;
    const whole = Boolean(this.#answer?.whole);
    tools.hidden = snippets.hidden = !whole;
    edit.hidden = !this.#answer?.phrases.length;
    edit.setAttribute("aria-pressed", this.#editing);
    editHint.hidden = !this.#editing;
    save.hidden = saveNote.hidden = this.#asked?.mode === "chat"; // records have no dialogues
    save.disabled = Boolean(this.#saving);
    saveNote.textContent = this.#saving;
  }

  /** Show the dialogue before the answer, and its question. */
  #drawTurns() {
    const { dialogue } = this.#parts;
    const chatting = this.#asked?.mode === "chat";
    dialogue.hidden = !chatting;
    if (!chatting) return;
    const before = this.#asked.turns.flatMap(({ question, answer }) => [make("p", { class: "said" }, question), make("p", {}, answer)]);
    dialogue.replaceChildren(...before, make("p", { class: "said" }, this.#asked.text));
    dialogue.scrollTop = dialogue.scrollHeight;
  }

  #announce() {
    if (!this.#answer?.whole) return;
    const { phrases } = this.#answer;
    const found = phrases.filter((phrase) => phrase.boxes.length).length;
    const sentence = phrases.length ? `${found} of ${phrases.length} phrases found.` : this.#answer.text;
    if (this.#parts.status.textContent !== sentence) this.#parts.status.textContent = sentence;
  }

  #textNodes(answer) {
    return [...pieces(answer.text, answer.phrases)].map(({ text, index }) => {
      if (index === null) return text;
      const button = make("button", { type: "button", class: "phrase" }, text);
      return this.#linked(this.#coloured(button, index, this.#isAbsent(answer.phrases[index])), index);
    });
  }

  #coloured(node, index, absent) {
    node.style.setProperty("--colour", colourOf(index));
    node.classList.toggle("absent", absent);
    return node;
  }

  /** Let a button highlight the boxes of a phrase, or one of them, while it is pointed at, focused or clicked. */
  #linked(button, phrase, box = null) {
    button.dataset.phrase = phrase;
    if (box !== null) button.dataset.box = box;
    const ids = () => {
      const boxes = this.#visibleBoxes(this.#answer.phrases[phrase]).map(({ index }) => index);
      return boxes.filter((index) => box === null || index === box).map((index) => idOf(phrase, index));
    };
    for (const type of ["onpointerenter", "onfocus"]) button[type] = () => this.#highlight(ids(), phrase);
    for (const type of ["onpointerleave", "onblur"]) button[type] = () => this.#highlight([]);
    button.onclick = () => {
      this.#editor.select(ids()[0] ?? null);
      this.#highlight(ids(), phrase);
    };
    return button;
  }

  #highlight(ids, phrase = null) {
    this.#editor.highlight(ids.length || this.#editor.selected === null ? ids : [this.#editor.selected]);
    const phrases = new Set([...ids.map(phraseOf), phrase]);
    for (const button of this.#section.querySelectorAll("[data-phrase]")) {
      const { phrase: index, box } = button.dataset;
      const on = box === undefined ? phrases.has(Number(index)) : ids.includes(idOf(index, box));
      button.classList.toggle("highlighted", on);
    }
  }

  #phraseRow(phrase, index) {
    const shown = this.#visibleBoxes(phrase);
    const absent = this.#isAbsent(phrase);
    const number = this.#coloured(make("span", { class: "number" }, String(index + 1)), index, absent);
    const words = make("span", { class: "words" }, make("b", {}, phrase.phrase));
    if (absent) words.append(this.#absence(phrase));
    const row = make("li", {}, number, words, make("span", { class: "tools" }, ...this.#phraseTools(phrase, index)));
    row.classList.toggle("absent", absent);
    const rows = shown.map((box) => this.#boxRow(phrase, index, box));
    if (rows.length) row.append(make("div", { class: "box-rows" }, ...rows));
    return row;
  }

  #absence({ boxes, presence }) {
    if (boxes.length) {
      const best = decimals(Math.max(...boxes.map(({ score }) => score)));
      return make("span", { class: "not-there" }, `no box above the threshold (best ${best})`);
    }
    const chance = typeof presence === "number" ? ` (presence ${decimals(presence)})` : "";
    return make("span", { class: "not-there" }, make("b", {}, "not in the image"), chance);
  }

  #phraseTools(phrase, index) {
    const tools = [];
    if (this.#editing) {
      const add = (event) => (event.detail === 0 ? this.drawInTheMiddle(index) : this.startDrawing(index));
      tools.push(make("button", { type: "button", onclick: add, "aria-label": `Add a box for ${phrase.phrase}` }, "Add a box"));
    }
    if (this.#answer.whole) {
      const pressed = this.#heatmap === index;
      const toggle = () => this.#toggleHeatmap(index);
      const label = `Heat map of ${phrase.phrase}`;
      tools.push(make("button", { type: "button", onclick: toggle, "aria-pressed": String(pressed), "aria-label": label }, "Heat map"));
    }
    return tools;
  }

  #boxRow(phrase, index, box) {
    const known = typeof box.score === "number";
    const label = box.corrected ? "corrected" : known ? decimals(box.score) : "box";
    const bar = make("span", { class: "bar" }, make("i"));
    bar.style.setProperty("--share", known ? box.score : 0);
    this.#coloured(bar, index, false);
    const button = make("button", { type: "button", "aria-label": `${phrase.phrase}, box ${box.index + 1}: ${label}` }, label, known && bar);
    const row = make("div", { class: "box-row" }, this.#linked(button, index, box.index));
    if (this.#editing) {
      const remove = () => this.#removeBox(idOf(index, box.index));
      row.append(make("button", { type: "button", onclick: remove, "aria-label": `Remove box ${box.index + 1} of ${phrase.phrase}` }, "Remove"));
    }
    return row;
  }

  // Boxes.

  #drawBoxes() {
    const phrases = this.#answer?.phrases ?? [];
    const shapes = phrases.flatMap((phrase, index) => this.#visibleBoxes(phrase).map((box) => this.#boxShape(phrase, index, box)));
    if (this.#region) {
      const shape = { id: REGION, box: this.#region, label: "your box", colour: REGION_COLOUR, editable: true, dashed: true };
      shapes.push(shape);
    }
    this.#editor.shapes = shapes;
  }

  #boxShape(phrase, index, box) {
    const score = typeof box.score === "number" ? ` ${decimals(box.score)}` : "";
    return {
      id: idOf(index, box.index),
      box: { x1: box.x1, y1: box.y1, x2: box.x2, y2: box.y2 },
      label: `${phrase.phrase}${score}`,
      badge: box.index ? "" : String(index + 1),
      thin: box.index > 0,
      colour: colourOf(index),
      editable: this.#editing,
    };
  }

  #toggleEditing() {
    this.#editing = !this.#editing;
    this.#editor.select(null);
    this.#drawAnswer();
  }

  #changeBox(id, box) {
    if (id === REGION) {
      this.#region = box;
      this.#emit("region", { box });
      return;
    }
    const [phrase, index] = id.split(".").map(Number);
    this.#answer.phrases[phrase].boxes[index] = { ...box, corrected: true };
    this.#redrawCorrected();
  }

  #removeBox(id) {
    if (id === REGION) {
      this.#emit("region", { box: null });
      return;
    }
    const [phrase, index] = id.split(".").map(Number);
    this.#answer.phrases[phrase].boxes.splice(index, 1);
    this.#redrawCorrected();
  }

  #addBox(box) {
    const phrase = this.#drawsFor;
    this.#emit("drawing", { drawing: false });
    if (phrase === REGION) {
      this.#emit("region", { box });
      this.focusRegion();
      return;
    }
    const { boxes } = this.#answer.phrases[phrase];
    boxes.push({ ...box, corrected: true });
    this.#redrawCorrected();
    const id = idOf(phrase, boxes.length - 1);
    this.#editor.select(id);
    this.#editor.focus(id);
  }

  #redrawCorrected() {
    this.#answer.markdown = writeMarkdown(this.#answer.text, this.#answer.phrases);
    this.#drawAnswer();
    this.#emit("answer");
  }

  // The heat map.

  #toggleHeatmap(index) {
    if (this.#heatmap === index) {
      this.#heatmap = null;
      this.#drawAnswer();
    } else if (this.#answer.phrases[index].heatmap) {
      this.showHeatmap(index, this.#answer.phrases[index].heatmap);
    } else {
      this.#emit("heatmap", { index });
    }
  }

  #drawHeatmap() {
    const { heat, heatKey } = this.#parts;
    const phrase = this.#answer?.phrases[this.#heatmap];
    heat.hidden = heatKey.hidden = !phrase;
    if (!phrase) return;
    drawHeatmap(heat, phrase.heatmap);
    const largest = Math.max(...phrase.heatmap.flat());
    heatKey.textContent = `Where “${phrase.phrase}” may be; brightest cell: ${percent(largest)}`;
  }
}
