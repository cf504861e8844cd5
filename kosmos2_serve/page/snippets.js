// The question as a command or program that asks it again, to be copied.

const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return the shell command that asks the same. */
export function curlCommand({ url, body, file, type, download, token }) {
  const start = JSON.stringify(body).slice(0, -1);
  const beforeImage = `${start}${start === "{" ? "" : ","}"image":"data:${type};base64,`;
  return [
    ...(download ? [`curl -sS -o ${shellQuoted(file)} ${shellQuoted(download)}`] : []),
    `{ printf '%s' ${shellQuoted(beforeImage)}; base64 < ${shellQuoted(file)} | tr -d '\\n'; printf '"}'; } |`,
    `  curl -sS ${token ? `-H "Authorization: Bearer $KOSMOS2_TOKEN" ` : ""}-H 'Content-Type: application/json' -d @- ${shellQuoted(url)}`,
  ].join("\n");
}

/** Return a JSON value as a Python literal. */
function pythonLiteral(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pythonLiteral(item)}`);
  return `{${items.join(", ")}}`;
}

/** Return the Python program that asks the same, with the standard library only. */
export function pythonProgram({ url, body, file, type, download, token }) {
  const name = JSON.stringify(file);
  const read = download
    ? [`image = urllib.request.urlopen(${JSON.stringify(download)}).read()`]
    : [`with open(${name}, "rb") as file:`, "    image = file.read()"];
  const headers = token
    ? '{"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["KOSMOS2_TOKEN"]}'
    : '{"Content-Type": "application/json"}';
  return [
    "import base64",
    "import json",
    ...(token ? ["import os"] : []),
    "import urllib.request",
    "",
    ...read,
    `body = ${pythonLiteral(body)}`,
    `body["image"] = "data:${type};base64," + base64.b64encode(image).decode()`,
    "request = urllib.request.Request(",
    `    ${JSON.stringify(url)},`,
    "    json.dumps(body).encode(),",
    `    ${headers},`,
    ")",
    "with urllib.request.urlopen(request) as response:",
    '    print(json.load(response)["markdown"])',
  ].join("\n");
}

/** Return YAML in one line; texts of JSON are texts of YAML. */
function inlineYaml(fields) {
  return `{${Object.entries(fields)
    .map(([name, value]) => `${name}: ${typeof value === "object" ? inlineYaml(value) : JSON.stringify(value)}`)
    .join(", ")}}`;
}

/** Return the command that asks a running ROS 2 node the same about its camera's newest image. */
export function rosCommand(mode, fields) {
  const [command, name, type] = {
    locate: ["service call", "locate", "srv/Locate"],
    caption: ["service call", "describe", "srv/Describe"],
    describe: ["service call", "describe", "srv/Describe"],
    ask: ["service call", "ask", "srv/Ask"],
    chat: ["action send_goal --feedback", "converse", "action/Converse"],
  }[mode];
  return `ros2 ${command} /grounding/${name} kosmos2/${type} ${shellQuoted(inlineYaml(fields))}`;
}
