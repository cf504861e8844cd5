// Shows ../openapi.json: each operation with the fields of its body and of its answer. Texts are set as text.
"use strict";

const element = (name, text = "", ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const typeName = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.type === "array") return `list of ${typeName(schema.items) || "values"}`;
  return schema.type ?? "any";
};

const fieldsTable = (schema) => {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const needed = (schema.required ?? []).includes(name) ? "needed" : JSON.stringify(field.default ?? null);
    return element("tr", "", element("td", "", element("code", name)), element("td", typeName(field)),
      element("td", needed), element("td", field.description ?? ""));
  });
  const head = element("tr", "", ...["field", "type", "default", "meaning"].map((text) => element("th", text)));
  return element("table", "", element("thead", "", head), element("tbody", "", ...rows));
};

const referenced = (content) => (content?.["application/json"]?.schema?.$ref ?? "").split("/").pop();

const show = (api) => {
  document.getElementById("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      main.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", operation.summary));
      const body = referenced(operation.requestBody?.content);
      if (body) main.append(element("h3", `Body: ${body}`), fieldsTable(api.components.schemas[body]));
      const answer = referenced(Object.values(operation.responses)[0].content);
      if (answer) {
        const link = element("a", answer);
        link.href = `#${answer}`;
        main.append(element("p", "Answer: ", link));
      }
    }
  }
  main.append(element("h2", "Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const title = element("h3", name);
    title.id = name;
    main.append(title, element("p", schema.description ?? ""), fieldsTable(schema));
  }
};

fetch("../openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch((error) => { document.getElementById("operations").textContent = `The description cannot be loaded: ${error}`; });
