// Requests to the server that this page came from; token and reader's name go in headers.

const MAGIC = 0x314e5344; // "DSN1", little-endian
const HEAD_BYTES = 16;
const PLANES = ["image", "alpha", "trimap", "binary", "truth"]; // bit 0, 1, 2, ...
// A server that has not answered by then is told to be lost.
const PATIENCE_MS = 20000;

/** What the server refused, or `status` 0 where nothing answered. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may be taken later. */
  get passing() {
    return [0, 401, 403, 408, 429].includes(this.status) || this.status >= 500;
  }
}

/** Take token and reader out of the address bar; a reload finds the token in this tab's storage. */
export function takeAddress() {
  const given = new URLSearchParams(location.search);
  const token = given.get("token") ?? sessionStorage.getItem("dsnet-token") ?? "";
  if (given.has("token")) {
    sessionStorage.setItem("dsnet-token", token);
    history.replaceState(null, "", location.pathname);
  }
  return { token, reader: given.get("reader") };
}

/** The token of an address that a person pasted, or the text itself where it is no address. */
export function tokenOf(text) {
  const trimmed = text.trim();
  const found = /[?&]token=([^&#\s]+)/.exec(trimmed);
  return found ? decodeURIComponent(found[1]) : trimmed;
}

export class Api {
  constructor(token) {
    this.token = token;
    this.reader = "";
    this.onanswer = () => {}; // (whether it answered, status, why not)
  }

  renew(token) {
    this.token = token;
    sessionStorage.setItem("dsnet-token", token);
  }

  async request(path, { body, keepalive = false, reader = this.reader } = {}) {
    const headers = { "X-DSNet-Token": this.token, "X-DSNet-Reader": encodeURIComponent(reader) };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        keepalive,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
    } catch {
      this.onanswer(false, 0);
      throw new Refused(0, "the server does not answer");
    }
    const refused = response.status === 401 || response.status === 403;
    const reason = response.ok ? "" : await reasonOf(response);
    this.onanswer(!refused && response.status < 500, response.status, reason);
    if (!response.ok) throw new Refused(response.status, reason);
    return response;
  }

  async json(path, options) {
    return (await this.request(path, options)).json();
  }

  /** Planes of an answer, with `milliseconds` that the server took and `offset` where it tells. */
  async planes(path, options) {
    const response = await this.request(path, options);
    const planes = decodePlanes(await response.arrayBuffer());
    planes.milliseconds = Number(response.headers.get("X-DSNet-Milliseconds") ?? NaN);
    planes.offset = (response.headers.get("X-DSNet-Offset") ?? "0,0").split(",").map(Number);
    return planes;
  }
}

/**
 * Planes [height, width] from bytes: 16 of header, then plane after plane. The image is uint16, the
 * others are uint8.
 */
export function decodePlanes(buffer) {
  const head = new DataView(buffer);
  if (buffer.byteLength < HEAD_BYTES || head.getUint32(0, true) !== MAGIC) {
    throw new Refused(500, "the server's planes must begin with DSN1");
  }
  const [height, width, mask] = [4, 8, 12].map((at) => head.getUint32(at, true));
  const planes = { height, width };
  let at = HEAD_BYTES;
  PLANES.forEach((name, bit) => {
    if (!(mask & (1 << bit))) return;
    const Kind = name === "image" ? Uint16Array : Uint8Array;
    planes[name] = new Kind(buffer, at, height * width);
    at += planes[name].byteLength;
  });
  return planes;
}

async function reasonOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // The status says it.
  }
  return `the server answered ${response.status}`;
}
