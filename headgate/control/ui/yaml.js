/* Plain values as YAML, for reading. */

const PLAIN = /^[A-Za-z_/][\w/.:@ -]*$/;
const WORDS = new Set(["true", "false", "null", "yes", "no", "on", "off"]);

/** Write a value. */
export function yaml(value, indent = "") {
  if (Array.isArray(value)) {
    return value.length ? value.map(
      (each) => `${indent}- ${inner(each, indent).trimStart()}`,
    ).join("\n") : `${indent}[]`;
  }
  if (value !== null && typeof value === "object") {
    const rows = Object.entries(value);
    return rows.length ? rows.map(
      ([name, each]) => `${indent}${scalar(name)}:${below(each, indent)}`,
    ).join("\n") : `${indent}{}`;
  }
  return indent + scalar(value);
}

function inner(value, indent) {
  return yaml(value, `${indent}  `);
}

function below(value, indent) {
  const nests = value !== null && typeof value === "object" && Object.keys(value).length > 0;
  return nests ? `\n${inner(value, indent)}` : ` ${yaml(value)}`;
}

function scalar(value) {
  if (typeof value !== "string") return String(value);
  const plain = PLAIN.test(value) && !WORDS.has(value.toLowerCase()) && !/: |[: ]$/.test(value);
  return plain ? value : JSON.stringify(value);
}
