// The modes of the page: what a question asks the server, what a ROS 2 node would be asked, what a record gets.

import { markedRegion, writeMarkdown } from "./grounded_text.js";

const pixels = (box, { width, height }) => ({
  x_min: Math.round(box.x1 * width),
  y_min: Math.round(box.y1 * height),
  x_max: Math.round(box.x2 * width),
  y_max: Math.round(box.y2 * height),
});
const units = (box) => [box.x1, box.y1, box.x2, box.y2].map((value) => Number(value.toFixed(6)));
const set = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== false));

/** Each mode: its button, its hint, whether it needs a text, the request, the ROS request and the item of a record. */
export const MODES = {
  locate: {
    button: "Locate",
    hint: "What to look for. Separate things by ; or mark them in a sentence, as in: put [the mug] into [the bowl].",
    missing: "Write what to look for, for example: the red mug.",
    path: "v1/locate",
    body: ({ text, boxes, zoom }) => set({ text, max_boxes: boxes, zoom }),
    ros: ({ text, boxes, zoom }) => set({ text, max_boxes: boxes, zoom }),
    item: (question, answer) => ({ task: "locate", text: answer.markdown }),
  },
  caption: {
    button: "Write a caption",
    hint: "A sentence or a paragraph that says what is in the image.",
    path: "v1/caption",
    body: ({ detailed, ground, maxTokens }) => ({ detailed, ground, ...(detailed && { max_tokens: maxTokens }) }),
    ros: ({ detailed }) => set({ detailed }),
    item: ({ detailed }, answer) => ({ task: "caption", text: groundedOnly(answer), ...set({ detailed }) }),
  },
  describe: {
    button: "What is this?",
    path: "v1/describe",
    body: ({ region }) => ({ region: units(region) }),
    ros: ({ region, image }) => ({ region: pixels(region, image) }),
    item: ({ region }, answer) => ({ task: "describe", text: markedRegion(answer.text, region) }),
  },
  ask: {
    button: "Ask",
    hint: "A question about the image. Draw a box to ask about a part of it: what colour is this?",
    missing: "Write a question, for example: what colour is the mug?",
    path: "v1/ask",
    body: ({ text, region, ground }) => set({ question: text, region: region && units(region), ground }),
    ros: ({ text, region, ground, image }) => set({ question: text, region: region && pixels(region, image), ground }),
    item: ({ text, region }, answer) => ({ task: "ask", question: withRegion(text, region), text: groundedOnly(answer) }),
  },
  chat: {
    button: "Send",
    hint: "A dialogue about the image: each question may refer to the answers before.",
    missing: "Write what you want to say, for example: what is on the table?",
    path: "v1/chat",
    body: ({ text, turns, ground }) => ({ question: text, turns, ground }),
    ros: ({ text, ground }) => set({ text, ground }),
    item: null, // records have no dialogues
  },
};

/** Return the Markdown of an answer, its phrases without a box as plain words: only `locate` may name absent things. */
function groundedOnly({ text, phrases }) {
  return writeMarkdown(
    text,
    phrases.filter(({ boxes }) => boxes.length),
  );
}

/** Return a question with its region at its first marked words, else at its first `it`, `this` or `that`, as the server reads it. */
function withRegion(text, region) {
  if (!region) return text;
  const [found, marked, word] = /\[([^[\]]+)\]|\b(it|this|that)\b/i.exec(markedFirst(text)) ?? [""];
  return found ? text.replace(found, () => markedRegion(marked ?? word, region)) : text;
}

/** Return the marked words of a text if there are any, else the text. */
const markedFirst = (text) => /\[[^[\]]+\](?!\()/.exec(text)?.[0] ?? text;
