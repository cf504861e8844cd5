// Elements of the page. Text from outside becomes text nodes only, never markup.

/** Return the element with this id. */
export const byId = (id) => document.getElementById(id);

/** Return a new element: attributes (`onclick` and other functions are properties), then children or texts. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node[key] = value;
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return how a probability or a share is shown. */
export const decimals = (value) => value.toFixed(2);

/** Return a text that is not too long to be shown in a sentence. */
export const shortened = (text, length = 40) => (text.length <= length ? text : `${text.slice(0, length - 1)}…`);
