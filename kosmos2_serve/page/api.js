// Calls of the server. Each failure is an Error whose message is one sentence for the visitor.

const NO_SERVER = "The server does not answer: check that it runs, then ask again.";

/** The server refused a request; `status` is the HTTP status. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let token = null;

export const hasToken = () => Boolean(token);

export function setToken(value) {
  token = value;
  if (value) sessionStorage.setItem("kosmos2-token", value);
  else sessionStorage.removeItem("kosmos2-token");
}

export function restoreToken() {
  token = sessionStorage.getItem("kosmos2-token");
}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(NO_SERVER);
  }
  if (!response.ok) throw new Refused(response.status, await sentenceOf(response));
  return response;
}

async function sentenceOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error.message === "string") return error.message;
  } catch {
    // Not an answer of our server, but perhaps of a proxy before it.
  }
  return `The server answered with status ${response.status}.`;
}

/** Return the JSON of an address. */
export async function get(path) {
  return (await call(path)).json();
}

function send(path, body, signal) {
  const options = { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal };
  return call(path, options);
}

/** Return the answer to a request. */
export async function post(path, body, signal) {
  return (await send(path, body, signal)).json();
}

/** Yield the events of a streamed answer, as `{event, data}`. */
export async function* stream(path, body, signal) {
  const response = await send(path, { ...body, stream: true }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    let chunk;
    try {
      chunk = await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : new Error("The connection to the server was lost: ask again.");
    }
    if (chunk.done) return;
    const blocks = (rest + chunk.value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parseEvent(block);
      if (event) yield event;
    }
  }
}

function parseEvent(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  if (!data.length || data[0] === "[DONE]") return null;
  return { event, data: JSON.parse(data.join("\n")) };
}
