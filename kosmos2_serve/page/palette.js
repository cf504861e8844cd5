// The colours of phrases: those of kosmos2_core/drawing.py, easy to tell apart for most eyes, under dark letters.

export const COLOURS = ["#ffd23f", "#3bceac", "#ee4266", "#4d9de0", "#ff8c42", "#b388eb", "#9bc53d", "#f2f2f2"];
export const REGION_COLOUR = "#ffffff"; // of the box that the visitor drew

export const colourOf = (index) => COLOURS[index % COLOURS.length];

const CIVIDIS = [
  // Dark blue to yellow, the same order of lightness for all eyes.
  [0, 34, 78],
  [33, 59, 110],
  [76, 85, 108],
  [108, 110, 114],
  [142, 138, 121],
  [179, 169, 112],
  [219, 203, 88],
  [254, 232, 56],
];

/** Return red, green and blue, 0 to 255, of a share from 0 to 1. */
export function heat(share) {
  const position = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const index = Math.min(Math.floor(position), CIVIDIS.length - 2);
  const rest = position - index;
  return CIVIDIS[index].map((value, channel) => Math.round(value + rest * (CIVIDIS[index + 1][channel] - value)));
}
