// The page's state in the fragment of its address, so that a link or a reload restores it.

const DEFAULTS = { mode: "locate", text: "", scene: "", boxes: 1, zoom: false, detailed: false, ground: null };

/** Return the state in a fragment such as `#mode=ask&text=how+many%3F&scene=tabletop`; null: there is none. */
export function readFragment(fragment, modes) {
  const parameters = new URLSearchParams(fragment.replace(/^#/, ""));
  if (![...parameters.keys()].some((key) => key in DEFAULTS)) return null;
  const flag = (name) => (parameters.has(name) ? parameters.get(name) === "1" : DEFAULTS[name]);
  const boxes = Number.parseInt(parameters.get("boxes"), 10);
  return {
    mode: modes.includes(parameters.get("mode")) ? parameters.get("mode") : DEFAULTS.mode,
    text: parameters.get("text") ?? DEFAULTS.text,
    scene: parameters.get("scene") ?? DEFAULTS.scene,
    boxes: boxes >= 1 && boxes <= 9 ? boxes : DEFAULTS.boxes,
    zoom: flag("zoom"),
    detailed: flag("detailed"),
    ground: parameters.has("ground") ? parameters.get("ground") === "1" : null, // null: that of the mode
  };
}

/** Return the fragment of a state; values that are the default are left out. */
export function writeFragment(state) {
  const parameters = new URLSearchParams({ mode: state.mode });
  for (const [name, normal] of Object.entries(DEFAULTS)) {
    if (name === "mode" || state[name] === normal) continue;
    parameters.set(name, typeof state[name] === "boolean" ? Number(state[name]) : state[name]);
  }
  return `#${parameters}`;
}
