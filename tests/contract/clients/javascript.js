// Every scenario with replicate from npm; prints what each one gave.
const fs = require("node:fs");
const Replicate = require("replicate");

const facts = JSON.parse(process.argv[2]);
const replicate = new Replicate({ baseUrl: `${facts.base_url}/v1` });
// As the documentation has it.
const hello = "replicate/hello-world:5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa";
const olderHello = "replicate/hello-world:9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426";
const text = "one two\nthree";
const picture = { prompt: "a hill", megapixels: "0.25", num_inference_steps: 1 };
const place = ["me", "words"];
const flux = ["black-forest-labs", "flux-schnell"];

const newest = async (owner, name) => (await replicate.models.get(owner, name)).latest_version.id;
const read = async (output) => (await fetch(output.url ? output.url() : output)).text();
const names = (list) => list.map((each) => `${each.owner}/${each.name}`);

// The error that the API answers with.
async function statusOf(work) {
  try {
    await work();
  } catch (error) {
    return error.response.status;
  }
  return 200;
}

async function everyPage(endpoint) {
  const pages = [];
  for await (const page of replicate.paginate(endpoint)) pages.push(page);
  return pages;
}

// The example of a model that has been run, and the prediction that it is.
async function example() {
  const made = await replicate.predictions.create({ version: await newest(...place), input: { text } });
  await replicate.wait(made, { interval: 50 });
  const { id } = (await replicate.models.get(...place)).default_example;
  const { status, output } = await replicate.predictions.get(id);
  return { status, output };
}

const scenarios = {
  async run() {
    const pictures = await replicate.run("black-forest-labs/flux-schnell", { input: picture });
    return {
      official: await Promise.all(pictures.map(async (each) => (await read(each)).slice(0, 4))),
      version: await replicate.run(hello, { input: { text: "all" } }),
      older: await replicate.run(olderHello, { input: { text: "all" } }),
      community: await statusOf(() => replicate.run("me/words", { input: { text: "x" } })),
      words: await replicate.run(`me/words:${await newest(...place)}`, { input: { text } }),
    };
  },

  async create_and_wait() {
    const prediction = await replicate.predictions.create({ version: await newest(...place), input: { text } });
    const ended = await replicate.wait(prediction, { interval: 50 });
    return { created: prediction.status, status: ended.status, output: ended.output, logs: ended.logs };
  },

  async blocking() {
    const version = await newest(...place);
    const { status, output } = await replicate.predictions.create({ version, input: { text }, wait: true });
    return { status, output };
  },

  async stream() {
    const events = [];
    for await (const event of replicate.stream(`me/words:${await newest(...place)}`, { input: { text } })) {
      events.push([event.event, event.data]);
    }
    const output = events.filter(([kind]) => kind === "output").map(([, data]) => data);
    return { text: output.join(""), events };
  },

  async cancel() {
    const input = { text, pause: 60 };
    let prediction = await replicate.predictions.create({ version: await newest(...place), input });
    while (prediction.status === "starting") prediction = await replicate.predictions.get(prediction.id);
    await replicate.predictions.cancel(prediction.id);
    const ended = await replicate.wait(prediction, { interval: 50 });
    return { before: prediction.status, after: ended.status };
  },

  async files() {
    const content = new File([fs.readFileSync(facts.file)], "note.txt", { type: "text/plain" });
    const file = await replicate.files.create(content, { mine: 1 });
    const again = await replicate.files.get(file.id);
    const listed = (await replicate.files.list()).results.map((each) => each.id);
    return {
      file: { name: file.name, type: file.content_type, size: file.size },
      metadata: file.metadata,
      same: again.checksums.sha256 === file.checksums.sha256,
      checksums: file.checksums,
      listed: listed.includes(file.id),
      deleted: await replicate.files.delete(file.id),
      after: await statusOf(() => replicate.files.get(file.id)),
    };
  },

  async file_input() {
    const model = `me/notes:${await newest("me", "notes")}`;
    const uploaded = await replicate.run(model, { input: { file: fs.readFileSync(facts.file) } });
    // Its own strategy "data-uri" sends the client in place of the input.
    const inline = await replicate.run(model, { input: { file: `data:text/plain;base64,${btoa("inline")}` } });
    return { uploaded: await read(uploaded), inline: await read(inline) };
  },

  async webhook() {
    const version = await newest(...place);
    const webhook_events_filter = ["completed"];
    await replicate.predictions.create({ version, input: { text }, webhook: facts.hook, webhook_events_filter });
    const seen = await (await fetch(facts.hook)).json();
    const { key } = await replicate.webhooks.default.secret.get();
    const isValid = (body) => Replicate.validateWebhook({ headers: seen.headers, body }, key);
    return { secret: key, seen, valid: await isValid(seen.body), tampered: await isValid(`${seen.body} `) };
  },

  async models() {
    const model = await replicate.models.get("me", "notes");
    const version = await replicate.models.versions.get("me", "notes", model.latest_version.id);
    return {
      name: `${model.owner}/${model.name}`,
      version: model.latest_version.id,
      inputs: Object.keys(version.openapi_schema.components.schemas.Input.properties).sort(),
      versions: (await replicate.models.versions.list("me", "notes")).results.map((each) => each.id),
      listed: names((await everyPage(replicate.models.list)).flat()),
      found: names((await replicate.models.search("notes")).results),
      missing: await statusOf(() => replicate.models.get("me", "nothing")),
      official: (await replicate.models.versions.get(...flux, await newest(...flux))).id,
      example: await example(),
    };
  },

  async deployments() {
    const version = await newest(...place);
    const scale = { hardware: "cpu", min_instances: 0, max_instances: 1 };
    const made = await replicate.deployments.create({ name: facts.client, model: "me/words", version, ...scale });
    const prediction = await replicate.deployments.predictions.create(made.owner, made.name, { input: { text } });
    const ended = await replicate.wait(prediction, { interval: 50 });
    const updated = await replicate.deployments.update(made.owner, made.name, { max_instances: 2 });
    return {
      name: made.name,
      model: made.current_release.model,
      listed: (await replicate.deployments.list()).results.map((each) => each.name),
      output: ended.output,
      updated: updated.current_release.configuration.max_instances,
      deleted: await replicate.deployments.delete(made.owner, made.name),
      after: await statusOf(() => replicate.deployments.get(made.owner, made.name)),
    };
  },

  async input_error() {
    try {
      await replicate.predictions.create({ version: await newest("me", "notes"), input: { times: 9, style: "odd" } });
    } catch (error) {
      // The message ends with the body, and a full stop.
      return { ...JSON.parse(error.message.slice(error.message.indexOf("{"), -1)), status: error.response.status };
    }
  },

  async failing() {
    const model = `me/words:${await newest(...place)}`;
    const found = {};
    try {
      await replicate.run(model, { input: { text: "" } }, (last) => Object.assign(found, last));
    } catch (error) {
      return { message: error.message.replace("Prediction failed: ", ""), status: found.status, logs: found.logs };
    }
  },

  async account() {
    return {
      name: (await replicate.accounts.current()).username,
      hardware: (await replicate.hardware.list()).map((each) => each.sku),
      trainings: (await replicate.trainings.list()).results.length,
      training: await statusOf(() => replicate.trainings.get("none")),
    };
  },

  async pages() {
    const version = await newest("replicate", "hello-world");
    const made = [];
    for (let n = 0; n < 105; n++) {
      made.push((await replicate.predictions.create({ version, input: { text: String(n) } })).id);
    }
    const found = await everyPage(replicate.predictions.list);
    return { sizes: found.map((page) => page.length), made, listed: found.flat().map((each) => each.id) };
  },
};

async function main() {
  const given = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    try {
      given[name] = (await scenario()) ?? null;
    } catch (error) {
      given[name] = { raised: `${error.name}: ${error.message}` };
    }
  }
  console.log(JSON.stringify(given));
}

main();
