// The gateway's own API, with the session's cookie.

/** What the gateway answered instead: `status`, `code`, `param`, and its words as `message`. */
export class ApiError extends Error {
  constructor(status, error, headers) {
    super(error?.message ?? `the gateway answered ${status}`);
    this.status = status;
    this.code = error?.code ?? null;
    this.param = error?.param ?? null;
    this.requestId = headers?.get("x-request-id") ?? null;
    this.headers = headers ?? null;
  }
}

/** Called when the session has ended. */
let onLeft = () => {};
export const whenLeft = (call) => { onLeft = call; };

/** A path below this page, so that the dashboard also works where a proxy gives it a prefix. */
export const url = (path, params = {}) => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return path.replace(/^\//, "") + (text ? `?${text}` : "");
};

async function call(method, path, { params, body, signal, quiet } = {}) {
  const init = { method, signal, headers: { accept: "application/json" }, credentials: "same-origin" };
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const reply = await fetch(url(path, params), init);
  if (!reply.ok) {
    const fault = await fault_of(reply);
    if (fault.status === 401 && !quiet) onLeft();
    throw fault;
  }
  return reply.status === 204 ? null : reply.json();
}

async function fault_of(reply) {
  let said = null;
  try {
    said = (await reply.json()).error;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // a proxy's own page is no JSON
  }
  return new ApiError(reply.status, said, reply.headers);
}

export const get = (path, params, signal) => call("GET", path, { params, signal });
export const post = (path, body, signal) => call("POST", path, { body, signal });
export const patch = (path, body) => call("PATCH", path, { body });
export const del = (path, params) => call("DELETE", path, { params });
export const login = (body) => call("POST", "/api/v1/login", { body, quiet: true });
export const session = () => call("GET", "/api/v1/session", { quiet: true });
export const logout = () => call("POST", "/api/v1/logout", { quiet: true });

/** A reply that is read as it comes; `body` is sent as JSON. Throws `ApiError`. */
export async function open(path, body, signal) {
  const reply = await fetch(url(path), {
    method: "POST",
    signal,
    credentials: "same-origin",
    headers: { "content-type": "application/json", ...(body.headers ?? {}) },
    body: JSON.stringify(body.json),
  });
  if (!reply.ok) throw await fault_of(reply);
  return reply;
}

/** The `data` of each event of a reply of server-sent events, without the last, `[DONE]`; its
 *  return value is whether that came. */
export async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return true;
      yield JSON.parse(data);
    }
  }
}

/** The values of a reply of JSON lines, as they come. */
export async function* lines(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    for (const line of found) if (line) yield JSON.parse(line);
  }
}

/** Where an OpenAI SDK is pointed at. */
export const baseUrl = () => new URL("v1", document.baseURI).href;
