// The part of an answer that gives it, or the question, in a form that can be used elsewhere.

import { make } from "./dom.js";
import { hasToken } from "./api.js";
import { MODES } from "./questions.js";
import { curlCommand, pythonProgram, rosCommand } from "./snippets.js";

const FORMATS = {
  Markdown: (question, answer) => answer.markdown,
  JSON: (question, answer) => JSON.stringify(plain(answer), null, 2),
  curl: (question) => curlCommand(callOf(question)),
  Python: (question) => pythonProgram(callOf(question)),
  "ROS 2": (question) => rosCommand(question.mode, MODES[question.mode].ros(question)),
};

let panels = 0; // so that the radio buttons of two panels do not form one group

/** Return the parts of an answer that mean something outside of the page. */
function plain({ text, markdown, phrases }) {
  const withoutHeatmap = phrases.map(({ heatmap, ...phrase }) => phrase);
  return { text, markdown, phrases: withoutHeatmap };
}

function callOf({ path, body, image, scene }) {
  const url = (address) => new URL(address, document.baseURI).href;
  return { url: url(path), body, file: image.name, type: image.type, download: scene ? url(scene.url) : null, token: hasToken() };
}

export class SnippetPanel {
  #question = null;
  #answer = null;
  #format = "Markdown";

  constructor() {
    const name = `format-${(panels += 1)}`;
    const choices = Object.keys(FORMATS).map((format) => {
      const input = make("input", { type: "radio", name, value: format, onchange: () => this.#choose(format) });
      input.checked = format === this.#format;
      return make("label", {}, input, make("span", {}, format));
    });
    this.text = make("pre", { tabindex: "0", "aria-label": "Text to copy" });
    this.button = make("button", { type: "button", onclick: () => this.#copy() }, "Copy");
    const legend = make("legend", { class: "unseen" }, "Format");
    this.element = make(
      "details",
      { hidden: true },
      make("summary", {}, "Use it elsewhere: JSON, Markdown, curl, Python, ROS 2"),
      make("div", { class: "snippets" }, make("fieldset", { class: "segments" }, legend, ...choices), this.text, make("div", { class: "tools" }, this.button)),
    );
  }

  /** Take over a question and its answer, which may be corrected later. */
  show(question, answer) {
    this.#question = question;
    this.#answer = answer;
    this.#draw();
  }

  #choose(format) {
    this.#format = format;
    this.#draw();
  }

  #draw() {
    this.button.textContent = "Copy";
    this.text.textContent = FORMATS[this.#format](this.#question, this.#answer);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      this.button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.text);
      this.button.textContent = "Press Ctrl+C";
    }
  }
}
