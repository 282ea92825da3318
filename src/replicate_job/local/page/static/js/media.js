/** Media types by the endings of files' names, and endings by media types. No side effects. */

/** Maps endings to media types. `endingOf` returns the first ending of a type. */
const TYPES = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  webp: "image/webp",
  gif: "image/gif",
  avif: "image/avif",
  bmp: "image/bmp",
  svg: "image/svg+xml",
  wav: "audio/wav",
  mp3: "audio/mpeg",
  ogg: "audio/ogg",
  oga: "audio/ogg",
  opus: "audio/ogg",
  flac: "audio/flac",
  m4a: "audio/mp4",
  aac: "audio/aac",
  mp4: "video/mp4",
  m4v: "video/mp4",
  webm: "video/webm",
  mov: "video/quicktime",
  mkv: "video/x-matroska",
  txt: "text/plain",
  log: "text/plain",
  csv: "text/csv",
  tsv: "text/tab-separated-values",
  md: "text/markdown",
  html: "text/html",
  vtt: "text/vtt",
  srt: "application/x-subrip",
  json: "application/json",
  jsonl: "application/jsonl",
  yaml: "application/yaml",
  yml: "application/yaml",
  xml: "application/xml",
  pdf: "application/pdf",
  zip: "application/zip",
};

const UNKNOWN = "application/octet-stream";

/** The media type of a file with this name. */
export function typeOf(name) {
  const ending = /\.(\w+)$/.exec(name)?.[1].toLowerCase();
  return Object.hasOwn(TYPES, ending) ? TYPES[ending] : UNKNOWN;
}

/** The ending of a file of this media type, such as `png`. */
export function endingOf(type) {
  const plain = type.toLowerCase().replace(/\/(x-|vnd\.)/, "/");
  return Object.keys(TYPES).find((ending) => [type.toLowerCase(), plain].includes(TYPES[ending])) ?? "bin";
}

/** `image`, `audio`, `video`, `text` or `other`: how a file of this type is shown. */
export function mediaOfType(type) {
  const [kind] = type.toLowerCase().split("/");
  if (["image", "audio", "video", "text"].includes(kind)) return kind;
  return /json|xml|csv|yaml|subrip/.test(type) ? "text" : "other";
}
