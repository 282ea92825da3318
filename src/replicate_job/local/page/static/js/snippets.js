/** Code that runs the same prediction: a command, Python, JavaScript, curl. These functions have no side effects.
 *
 * `run` is `{origin, slug, version, official, pinned, published, fields, input, output, nameOf, token, away}`. `output`
 * is the kind of the output, `pinned` is whether the user chose the version, and `published` is a version that
 * Replicate has too. `token` is whether this server needs a token. `away` is whether the code runs the prediction on
 * Replicate instead of this server.
 *
 * A snippet names files as they were chosen, and a variable for each secret, so it contains neither large contents nor
 * secrets.
 */

import { fileName } from "./format.js";
import { js, jsonTemplate, python, shell, StandIn, variable } from "./quote.js";

export const KINDS = { shell: "Command", python: "Python", client: "Python client", node: "JavaScript", curl: "curl" };

/** A placeholder for the token, which a snippet never contains. A server without a token accepts any token. */
const tokenOf = (run) => (run.token ? "YOUR_TOKEN" : "local");

/** The text of the snippet of this kind, a key of KINDS. */
export const snippet = (kind, run) => MAKERS[kind](run);

/** The files that the snippets read: `{name, url}`.
 *
 * `url` is the address of the content if the file may not be on the user's disk; else empty.
 */
export const filesOf = (run) => standIns(run).filter((one) => one.kind === "file");

/** Whether the snippet can also run on Replicate. */
export const isElsewhere = (run) => Boolean(run.official || (run.published && !run.pinned));

/** A version that this server and Replicate have, if there is one; else this server's version. */
const versionOf = (run) => (run.published && !run.pinned ? run.published : run.version);

/** The model for the official clients. They need a community model's version, because they do not look it up. */
const target = (run) => (run.official ? run.slug : `${run.slug}:${versionOf(run)}`);

/** The model for replicate-job, which looks up the newest version itself. */
const own = (run) => (run.pinned ? target(run) : run.slug);

/** The stand-in for a value that must not be written into a snippet; null for any other value. */
function standIn(value, field, inputName, run) {
  if (field?.kind === "secret") return new StandIn("secret", variable(inputName));
  if (field?.kind !== "file" || typeof value !== "string") return null;
  const name = run.nameOf(value);
  if (name) return new StandIn("file", name);
  const isLong = value.startsWith("data:") && value.length > 500;
  const isOutOfReach = run.away && value.startsWith(`${run.origin}/`);
  return isLong || isOutOfReach ? new StandIn("file", fileName(value, inputName), value) : null;
}

/** The input as a list of `[name, value, field]`, with stand-ins in place of values. */
function marked(run) {
  const fields = new Map(run.fields.map((field) => [field.name, field]));
  const mark = (value, field, name) =>
    standIn(value, field, name, run) ??
    (field?.kind === "list" && Array.isArray(value)
      ? value.map((item, index) => mark(item, field.item, `${name}-${index + 1}`))
      : value);
  return Object.entries(run.input).map(([name, value]) => [
    name,
    mark(value, fields.get(name), name),
    fields.get(name),
  ]);
}

const isA = (value, kind) => value instanceof StandIn && value.kind === kind;

function command(run) {
  const words = marked(run).flatMap(([name, value, field]) => wordsOf(name, value, field));
  const here = `REPLICATE_BASE_URL=${shell(run.origin)} REPLICATE_API_TOKEN=${tokenOf(run)}`;
  const environment = run.away ? [] : [here];
  const unknown = marked(run).some(([, , field]) => !field) ? ["--allow-unknown"] : [];
  return [...environment, `replicate-job run ${own(run)}${run.output === "pieces" ? " --stream" : ""}`, ...unknown, ...words].join(
    " \\\n  ",
  );
}

function wordsOf(name, value, field) {
  if (isA(value, "secret")) return [`${shell(`${name}=`)}"$${value.name}"`];
  if (isA(value, "file")) return [shell(`${name}=@${value.name}`)];
  if (Array.isArray(value) && value.some((item) => isA(item, "file")))
    return value.flatMap((item) => wordsOf(name, item, field.item));
  // The command reads text unchanged, except for an @ at its start, which would name a file. Other values are JSON.
  const isText = typeof value === "string" && field && ["text", "file", "choice"].includes(field.kind);
  return [shell(`${name}=${isText ? value.replace(/^@/, "@@") : JSON.stringify(value)}`)];
}

function pythonOwn(run) {
  const uses = used(run);
  const write = { file: (name) => `Path(${python(name)})`, secret: (name) => `os.environ[${python(name)}]` };
  const input = pythonInput(run, write);
  const server = run.away ? "" : `base_url=${python(run.origin)}, token=${python(tokenOf(run))}, `;
  return lines([
    uses.secret && "import os",
    uses.file && "from pathlib import Path",
    (uses.secret || uses.file) && "",
    "from replicate_job import run",
    "",
    `result = run(${python(own(run))}, ${input}, ${server}save_to="outputs")`,
    "result.raise_for_status()",
    run.output === "pieces" ? 'print("".join(result.output))' : "print(result.output, result.files)",
  ]);
}

function pythonClient(run) {
  const uses = used(run);
  const write = { file: (name) => `open(${python(name)}, "rb")`, secret: (name) => `os.environ[${python(name)}]` };
  // Versions 1 and 2 of the client read these variables, and have no common argument for them.
  const server = `{"REPLICATE_BASE_URL": ${python(run.origin)}, "REPLICATE_API_TOKEN": ${python(tokenOf(run))}}`;
  const isFirst = run.away && !uses.secret && !isWritten(run);
  return lines([
    (!run.away || uses.secret) && "import os",
    isWritten(run) && "from pathlib import Path",
    !isFirst && "",
    !run.away && `os.environ |= ${server}\n`,
    "import replicate",
    "",
    `output = replicate.run(${python(target(run))}, input=${pythonInput(run, write)})`,
    pythonOutput(run),
  ]);
}

function pythonOutput(run) {
  const name = `output${endingFor(run)}`;
  if (run.output === "file") return `Path(${python(name)}).write_bytes(output.read())`;
  if (run.output !== "files") return run.output === "pieces" ? 'print("".join(output))' : "print(output)";
  return lines([
    "for place, file in enumerate(output):",
    `    Path(f"output-{place}${endingFor(run)}").write_bytes(file.read())`,
  ]);
}

/** Whether the output is files. The official clients return these as objects with a method to read them. */
const isWritten = (run) => ["file", "files"].includes(run.output);

/** The ending of output files, from the input `output_format`; empty if that is not known. */
function endingFor(run) {
  const format = run.input.output_format ?? run.fields.find((field) => field.name === "output_format")?.initial;
  return /^\w+$/.test(format ?? "") ? `.${format}` : "";
}

function pythonInput(run, write) {
  const entries = marked(run).map(([name, value]) => `    ${python(name)}: ${python(value, write)},\n`);
  return entries.length ? `{\n${entries.join("")}}` : "{}";
}

function node(run) {
  const uses = used(run);
  const write = { file: (name) => `await readFile(${js(name)})`, secret: (name) => `process.env.${name}` };
  const entries = marked(run).map(
    ([name, value]) => `  ${/^[a-z_]\w*$/i.test(name) ? name : js(name)}: ${js(value, write)},\n`,
  );
  const server = run.away ? "" : `{ auth: ${js(tokenOf(run))}, baseUrl: ${js(`${run.origin}/v1`)} }`;
  const ofFiles = [uses.file && "readFile", isWritten(run) && "writeFile"].filter(Boolean);
  return lines([
    ofFiles.length > 0 && `import { ${ofFiles.join(", ")} } from "node:fs/promises";`,
    'import Replicate from "replicate";',
    "",
    `const replicate = new Replicate(${server});`,
    `const input = ${entries.length ? `{\n${entries.join("")}}` : "{}"};`,
    `const output = await replicate.run(${js(target(run))}, { input });`,
    nodeOutput(run),
  ]);
}

function nodeOutput(run) {
  const ending = endingFor(run);
  if (run.output === "file") return `await writeFile(${js(`output${ending}`)}, output);`;
  if (run.output === "files")
    return `for (const [place, file] of output.entries()) await writeFile(\`output-\${place}${ending}\`, file);`;
  return run.output === "pieces" ? 'console.log(output.join(""));' : "console.log(output);";
}

function curl(run) {
  const path = run.official ? `/v1/models/${run.slug}/predictions` : "/v1/predictions";
  const input = Object.fromEntries(marked(run));
  const body = run.official ? { input } : { version: versionOf(run), input };
  const template = jsonTemplate(body);
  const headers = [
    `-H 'Content-Type: application/json'`,
    `-H 'Prefer: wait'`,
    run.away && `-H "Authorization: Bearer $REPLICATE_API_TOKEN"`,
    !run.away && run.token && `-H 'Authorization: Bearer ${tokenOf(run)}'`,
  ]
    .filter(Boolean)
    .join(" ");
  const start = `curl -sS ${shell((run.away ? "https://api.replicate.com" : run.origin) + path)} \\\n  ${headers}`;
  return template.expands
    ? `${start} \\\n  --data-binary @- <<JSON\n${template.text}\nJSON`
    : `${start} \\\n  -d ${shell(JSON.stringify(body, null, 2))}`;
}

const standIns = (run) =>
  marked(run)
    .flatMap(([, value]) => value)
    .filter((value) => value instanceof StandIn);

function used(run) {
  const kinds = standIns(run).map((one) => one.kind);
  return { file: kinds.includes("file"), secret: kinds.includes("secret") };
}

const lines = (parts) => parts.filter((part) => part !== false && part !== undefined).join("\n");

const MAKERS = { shell: command, python: pythonOwn, client: pythonClient, node, curl };
