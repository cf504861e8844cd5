// Boxes as SVG over an image: shown, highlighted, drawn, moved and resized with mouse, touch and keyboard.
//
//   const editor = new BoxEditor(svg);            // an <svg> that lies over the image, of the same size
//   editor.shapes = [{ id: "mug", box: { x1: 0.1, y1: 0.2, x2: 0.3, y2: 0.4 }, label: "the mug", colour: "#ffd23f" }];
//   editor.addEventListener("change", ({ detail: { id, box } }) => ...);
//
// A shape has `id`, `box`, `label` (its accessible name, shown while it is highlighted), `colour`, and optionally
// `badge` (a short text that is always shown), `editable`, `dashed` and `thin`. Boxes are in fractions of the image.
//
// Events, with `detail`: `hover` {id or null}, `select` {id or null}, `change` {id, box}, `remove` {id},
// `draw` {box}, `cancel` (drawing was given up).
//
// Keys on a box: Enter or Space selects it. On an editable box the arrow keys move it and Delete removes it; the
// handles of the selected box are reached with Tab, and the arrow keys move their edges. Shift makes large steps.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 1 / 200; // of the image, for a press of an arrow key
const LARGE_STEP = 1 / 20;
const MIN_SIDE = 1 / 250; // of the image
const MIN_DRAG_PX = 5; // a shorter drag is a click
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HANDLES = {
  // name: edges that it moves, x and y
  "upper left corner": ["x1", "y1"],
  "upper edge": [null, "y1"],
  "upper right corner": ["x2", "y1"],
  "right edge": ["x2", null],
  "lower right corner": ["x2", "y2"],
  "lower edge": [null, "y2"],
  "lower left corner": ["x1", "y2"],
  "left edge": ["x1", null],
};
const FIRST_BOX = { x1: 0.3, y1: 0.3, x2: 0.7, y2: 0.7 }; // of drawing with the keyboard

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Return the box moved by a fraction of the image, at most to its border. */
export function moved(box, dx, dy) {
  const x = clamp(dx, -box.x1, 1 - box.x2);
  const y = clamp(dy, -box.y1, 1 - box.y2);
  return { x1: box.x1 + x, y1: box.y1 + y, x2: box.x2 + x, y2: box.y2 + y };
}

/** Return the box with the edges of a handle moved, within the image and not past the opposite edges. */
export function resized(box, handle, dx, dy) {
  const [edgeX, edgeY] = HANDLES[handle];
  const result = { ...box };
  if (edgeX === "x1") result.x1 = clamp(box.x1 + dx, 0, box.x2 - MIN_SIDE);
  if (edgeX === "x2") result.x2 = clamp(box.x2 + dx, box.x1 + MIN_SIDE, 1);
  if (edgeY === "y1") result.y1 = clamp(box.y1 + dy, 0, box.y2 - MIN_SIDE);
  if (edgeY === "y2") result.y2 = clamp(box.y2 + dy, box.y1 + MIN_SIDE, 1);
  return result;
}

/** Return the box between two points, cut off at the border of the image. */
export function boxBetween(a, b) {
  const [x1, x2] = [a.x, b.x].map((x) => clamp(x, 0, 1)).sort((x, y) => x - y);
  const [y1, y2] = [a.y, b.y].map((y) => clamp(y, 0, 1)).sort((x, y) => x - y);
  return { x1, y1, x2, y2 };
}

const area = (box) => (box.x2 - box.x1) * (box.y2 - box.y1);

function element(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export class BoxEditor extends EventTarget {
  #svg;
  #shapes = [];
  #nodes = new Map(); // id -> parts of the shape in the SVG
  #layers = { shapes: element("g"), band: element("rect", { class: "band", visibility: "hidden" }), handles: element("g") };
  #selected = null;
  #highlighted = new Set();
  #labelled = null;
  #drag = null; // {pointer, start, box, id, handle} while a button is down
  #drawing = false;
  #size = { width: 1, height: 1 };

  constructor(svg) {
    super();
    this.#svg = svg;
    svg.classList.add("boxes");
    svg.append(this.#layers.shapes, this.#layers.band, this.#layers.handles);
    svg.addEventListener("pointerdown", (event) => this.#down(event));
    svg.addEventListener("pointermove", (event) => this.#move(event));
    svg.addEventListener("pointerup", (event) => this.#up(event));
    svg.addEventListener("pointercancel", () => this.#cancelDrag());
    svg.addEventListener("keydown", (event) => this.#key(event));
    for (const type of ["pointerover", "focusin"]) svg.addEventListener(type, (event) => this.#hover(event));
    for (const type of ["pointerleave", "focusout"]) svg.addEventListener(type, () => this.#emit("hover", { id: null }));
    new ResizeObserver(() => this.#resize()).observe(svg);
  }

  get shapes() {
    return this.#shapes;
  }

  set shapes(shapes) {
    this.#cancelDrag();
    this.#shapes = [...shapes];
    if (!shapes.some((shape) => shape.id === this.#selected)) this.#selected = null;
    this.#rebuild();
  }

  get selected() {
    return this.#selected;
  }

  /** Select a shape by its id, or none. An editable shape that is selected has handles. */
  select(id) {
    if (id === this.#selected) return;
    this.#selected = id;
    this.#draw();
    this.#emit("select", { id });
  }

  /** Highlight these shapes and show the label of the first; the others become fainter. */
  highlight(ids) {
    this.#highlighted = new Set(ids);
    this.#labelled = ids[0] ?? null;
    this.#draw();
  }

  get drawing() {
    return this.#drawing;
  }

  /** Let the visitor draw a box: it becomes an event `draw`, and Escape an event `cancel`. */
  startDrawing() {
    this.#drawing = true;
    this.#svg.classList.add("drawing");
  }

  stopDrawing() {
    this.#drawing = false;
    this.#svg.classList.remove("drawing");
    this.#cancelDrag();
  }

  /** Draw a box in the middle, for those who move it with the keyboard. */
  drawInTheMiddle() {
    this.stopDrawing();
    this.#emit("draw", { box: { ...FIRST_BOX } });
  }

  focus(id) {
    this.#nodes.get(id)?.group.focus();
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #shape(id) {
    return this.#shapes.find((shape) => shape.id === id);
  }

  // Pictures of the shapes.

  #resize() {
    const { width, height } = this.#svg.getBoundingClientRect();
    if (!width || !height) return;
    this.#size = { width, height };
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#draw();
  }

  #rebuild() {
    const focused = [...this.#nodes].find(([, { group }]) => group === document.activeElement)?.[0];
    this.#nodes.clear();
    // Small boxes lie over large ones, so that all of them can be pointed at.
    const ordered = [...this.#shapes].sort((a, b) => area(b.box) - area(a.box));
    for (const shape of ordered) this.#nodes.set(shape.id, this.#build(shape));
    this.#layers.shapes.replaceChildren(...[...this.#nodes.values()].map(({ group }) => group));
    this.#draw();
    if (focused !== undefined) this.focus(focused);
  }

  #build(shape) {
    const halo = element("rect", { class: "halo" });
    const line = element("rect", { class: "line", stroke: shape.colour });
    const text = element("text", { "dominant-baseline": "central" });
    const plate = element("rect", { class: "plate", fill: shape.colour, rx: 3 });
    const tag = element("g", { class: "tag" }, plate, text);
    const group = element(
      "g",
      { class: "shape", tabindex: 0, role: "button", "aria-label": shape.label, "data-id": shape.id },
      halo,
      line,
      tag,
    );
    for (const name of ["dashed", "thin", "editable"]) group.classList.toggle(name, Boolean(shape[name]));
    return { group, halo, line, tag, plate, text };
  }

  #draw() {
    for (const shape of this.#shapes) this.#drawShape(shape, this.#nodes.get(shape.id));
    this.#drawHandles();
  }

  #drawShape(shape, { group, halo, line, tag, plate, text }) {
    const highlighted = this.#highlighted.has(shape.id);
    const selected = shape.id === this.#selected;
    this.#place(halo, shape.box);
    this.#place(line, shape.box);
    group.classList.toggle("highlighted", highlighted);
    group.classList.toggle("selected", selected);
    group.classList.toggle("faint", this.#highlighted.size > 0 && !highlighted);
    group.setAttribute("aria-pressed", selected);
    const words = shape.id === this.#labelled ? [shape.badge, shape.label] : [shape.badge];
    this.#drawTag(shape.box, words.filter(Boolean).join("  "), tag, plate, text);
  }

  #place(rect, box) {
    const { width, height } = this.#size;
    rect.setAttribute("x", box.x1 * width);
    rect.setAttribute("y", box.y1 * height);
    rect.setAttribute("width", (box.x2 - box.x1) * width);
    rect.setAttribute("height", (box.y2 - box.y1) * height);
  }

  /** Put the tag above its box, or inside where there is no room above. */
  #drawTag(box, words, tag, plate, text) {
    tag.toggleAttribute("hidden", !words);
    if (!words) return;
    if (text.textContent !== words) text.textContent = words;
    const bounds = text.getBBox();
    const width = bounds.width + 10;
    const height = bounds.height + 4;
    const x = clamp(box.x1 * this.#size.width - 1, 0, Math.max(this.#size.width - width, 0));
    const above = box.y1 * this.#size.height - height;
    const y = above >= 0 ? above : box.y1 * this.#size.height;
    plate.setAttribute("x", x);
    plate.setAttribute("y", y);
    plate.setAttribute("width", width);
    plate.setAttribute("height", height);
    text.setAttribute("x", x + 5);
    text.setAttribute("y", y + height / 2);
  }

  #drawHandles() {
    const shape = this.#shape(this.#selected);
    const layer = this.#layers.handles;
    if (!shape?.editable) return layer.replaceChildren();
    if (layer.dataset.id !== String(shape.id) || !layer.childElementCount) {
      layer.dataset.id = shape.id;
      layer.replaceChildren(...Object.keys(HANDLES).map((name) => this.#buildHandle(name, shape)));
    }
    for (const handle of layer.children) {
      const [edgeX, edgeY] = HANDLES[handle.dataset.handle];
      const { x1, x2, y1, y2 } = shape.box;
      const x = (edgeX ? shape.box[edgeX] : (x1 + x2) / 2) * this.#size.width;
      const y = (edgeY ? shape.box[edgeY] : (y1 + y2) / 2) * this.#size.height;
      handle.setAttribute("transform", `translate(${x} ${y})`);
    }
  }

  #buildHandle(name, shape) {
    return element(
      "g",
      { class: "handle", tabindex: 0, role: "button", "data-handle": name, "aria-label": `${name} of ${shape.label}` },
      element("circle", { class: "reach", r: 13 }), // large enough for a finger
      element("rect", { x: -5, y: -5, width: 10, height: 10, rx: 2, fill: shape.colour }),
    );
  }

  // Mouse and touch.

  #point(event) {
    const { left, top, width, height } = this.#svg.getBoundingClientRect();
    return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
  }

  #down(event) {
    if (event.button !== 0 || this.#drag) return;
    const start = this.#point(event);
    const handle = event.target.closest(".handle")?.dataset.handle;
    const id = handle ? this.#selected : this.#idAt(event);
    const drag = { pointer: event.pointerId, start, id, handle };
    if (this.#drawing) {
      event.preventDefault();
      this.#drag = { ...drag, id: null, handle: null, draws: true };
    } else if (id === null) {
      this.select(null);
    } else {
      this.select(id);
      if (this.#shape(id).editable) this.#drag = { ...drag, box: this.#shape(id).box };
    }
    if (this.#drag) this.#svg.setPointerCapture(event.pointerId);
  }

  /** Return the id of the shape under a pointer, or of the focused shape. */
  #idAt(event) {
    const group = event.target.closest(".shape");
    if (!group) return null;
    return [...this.#nodes].find(([, nodes]) => nodes.group === group)[0];
  }

  #move(event) {
    const drag = this.#drag;
    if (drag?.pointer !== event.pointerId) return;
    const point = this.#point(event);
    if (drag.draws) {
      this.#place(this.#layers.band, boxBetween(drag.start, point));
      this.#layers.band.setAttribute("visibility", "visible");
      return;
    }
    const [dx, dy] = [point.x - drag.start.x, point.y - drag.start.y];
    this.#shape(drag.id).box = drag.handle ? resized(drag.box, drag.handle, dx, dy) : moved(drag.box, dx, dy);
    this.#draw();
  }

  #up(event) {
    const drag = this.#drag;
    if (drag?.pointer !== event.pointerId) return;
    const box = boxBetween(drag.start, this.#point(event));
    this.#endDrag();
    if (!drag.draws) {
      const shape = this.#shape(drag.id);
      if (shape.box !== drag.box) this.#emit("change", { id: shape.id, box: shape.box });
    } else if ((box.x2 - box.x1) * this.#size.width >= MIN_DRAG_PX && (box.y2 - box.y1) * this.#size.height >= MIN_DRAG_PX) {
      this.stopDrawing();
      this.#emit("draw", { box });
    }
  }

  #endDrag() {
    this.#drag = null;
    this.#layers.band.setAttribute("visibility", "hidden");
  }

  /** Give up what is being dragged: the box is again where it was. */
  #cancelDrag() {
    if (!this.#drag) return;
    const shape = this.#shape(this.#drag.id);
    if (shape) shape.box = this.#drag.box;
    this.#endDrag();
    this.#draw();
  }

  #hover(event) {
    if (this.#drag || this.#drawing) return;
    const handle = event.target.closest(".handle");
    this.#emit("hover", { id: handle ? this.#selected : this.#idAt(event) });
  }

  // The keyboard.

  #key(event) {
    const handle = event.target.closest(".handle")?.dataset.handle;
    const id = handle ? this.#selected : this.#idAt(event);
    if (event.key === "Escape") return this.#escape(id);
    if (id === null) return;
    const shape = this.#shape(id);
    if (event.key === "Enter" || event.key === " ") {
      if (!handle) this.select(id === this.#selected ? null : id);
    } else if (shape.editable && ARROWS[event.key]) {
      this.#step(shape, handle, ARROWS[event.key], event.shiftKey ? LARGE_STEP : STEP);
    } else if (shape.editable && (event.key === "Delete" || event.key === "Backspace")) {
      this.#emit("remove", { id });
    } else {
      return;
    }
    event.preventDefault();
  }

  #step(shape, handle, [right, down], step) {
    const [dx, dy] = [right * step, down * step];
    shape.box = handle ? resized(shape.box, handle, dx, dy) : moved(shape.box, dx, dy);
    this.#draw();
    this.#emit("change", { id: shape.id, box: shape.box });
  }

  #escape(id) {
    if (this.#drag) return this.#cancelDrag();
    if (this.#drawing) {
      this.stopDrawing();
      this.#emit("cancel");
    } else {
      if (id !== null) this.focus(id); // not on a handle that goes away
      this.select(null);
    }
  }
}
