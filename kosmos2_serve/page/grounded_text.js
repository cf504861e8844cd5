// Answers as grounded Markdown, `put [the mug](0.1,0.2,0.3,0.4) there`: kosmos2_core/grounded_text.py has the format.

const escaped = (text) => text.replace(/[[\]()\\]/g, "\\$&");
const coordinate = (value) => String(Number(value.toFixed(6)));
const coordinates = ({ x1, y1, x2, y2 }) => [x1, y1, x2, y2].map(coordinate).join(",");

/** Yield the pieces of a text in order: `{text, index}`, where index is that of the phrase or null. */
export function* pieces(text, phrases) {
  const letters = Array.from(text); // offsets are in Unicode code points
  let end = 0;
  for (const [index, phrase] of phrases.entries()) {
    if (phrase.start > end) yield { text: letters.slice(end, phrase.start).join(""), index: null };
    yield { text: letters.slice(phrase.start, phrase.end).join(""), index };
    end = phrase.end;
  }
  if (end < letters.length) yield { text: letters.slice(end).join(""), index: null };
}

/** Return an answer as grounded Markdown. A phrase without boxes was looked for and is absent. */
export function writeMarkdown(text, phrases) {
  return [...pieces(text, phrases)]
    .map((piece) => {
      if (piece.index === null) return escaped(piece.text);
      return `[${escaped(piece.text)}](${phrases[piece.index].boxes.map(coordinates).join(";")})`;
    })
    .join("");
}

/** Return a region marked with a box in a question, as records have it. */
export const markedRegion = (words, box) => `[${escaped(words)}](${coordinates(box)})`;
