// The distribution of a phrase's location over the image's grid, drawn over the image.

import { heat } from "./palette.js";

const OPACITY = 0.8;

/** Draw a square array of probabilities: yellow and opaque where the largest is, transparent where there is none. */
export function drawHeatmap(canvas, rows) {
  const grid = rows.length;
  const largest = Math.max(...rows.flat(), Number.MIN_VALUE);
  canvas.width = canvas.height = grid;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(grid, grid);
  rows.flat().forEach((probability, index) => {
    const share = Math.sqrt(probability / largest); // so that small probabilities can be seen
    picture.data.set([...heat(share), 255 * OPACITY * Math.min(1, 2 * share)], 4 * index);
  });
  context.putImageData(picture, 0, 0);
}
