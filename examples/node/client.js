// A client of recsvc: the sockets and messages of docs/protocol.md that a program needs to record.
import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer, Subscriber } from "zeromq";

const VERSION = 2;
const REPLY_MS = 30_000;
const FETCH_BYTES = 1024 * 1024; // of one fetch
const FETCH_CREDIT = 8; // fetches that may be unanswered

/** Nanoseconds of the monotonic clock, on which capture times count. A BigInt, and so are 64-bit numbers that come. */
export const nowNs = () => process.hrtime.bigint();
const pack = (message) => encode({ v: VERSION, ...message }, { useBigInt64: true });
const unpack = (bytes) => decode(bytes, { useBigInt64: true });

/** The name of that clock: where the service has the same one, it translates nothing. */
function clockName() {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot} ${readlinkSync("/proc/self/ns/time")}`;
  } catch {
    return "";
  }
}

/** Of the endpoints of one socket of the service, the one with our transport; the host `*` is the one we came by. */
function reachable(endpoints, by) {
  const [transport, address] = by.split("://");
  const found = endpoints.find((endpoint) => endpoint.startsWith(`${transport}://`));
  if (!found) throw new Error(`the service at ${by} names no endpoint that is reached so, but ${endpoints}`);
  return found.replace("://*:", `://${address.slice(0, address.lastIndexOf(":"))}:`);
}

/** A service as an endpoint or a connection file names it: its control endpoint and, for tcp, the keys of its sockets. */
export function serviceAt(named) {
  if (named.includes("://")) return { endpoint: named, keys: {} };
  const found = JSON.parse(readFileSync(named, "utf8"));
  const keys = found.server_key && {
    curveServerKey: found.server_key,
    curvePublicKey: found.public_key,
    curveSecretKey: found.secret_key,
  };
  return { endpoint: found.endpoint, keys: keys || {} };
}

/** A DEALER on which requests go out and their replies come back, by their ids. */
class Requests {
  #socket;
  #waiting = new Map();
  #last = 0;

  constructor(endpoint, options) {
    this.#socket = new Dealer({ linger: 1000, routingId: randomUUID(), ...options });
    this.#socket.connect(endpoint);
    this.#take();
  }

  async #take() {
    for await (const [header, payload] of this.#socket) {
      const reply = unpack(header);
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      const { error, text, result } = reply;
      if (error) waiting?.reject(Object.assign(new Error(`${error}: ${text}`), { code: error, result }));
      else waiting?.resolve(payload === undefined ? result : payload);
    }
  }

  /** The reply's result, or the bytes that came with it. */
  async ask(kind, fields = {}) {
    const id = ++this.#last;
    const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const late = setTimeout(() => this.#waiting.get(id).reject(new Error(`no reply to ${kind}`)), REPLY_MS);
    await this.#socket.send(pack({ kind, id, ...fields }));
    return answered.finally(() => clearTimeout(late));
  }

  close() {
    this.#socket.close();
  }
}

/** What frames of one recording's tracks go through, as far as the service grants credit. */
class Data {
  #socket;
  #routes = new Map();

  constructor(endpoint, options, routes) {
    this.#socket = new Dealer({ linger: 10_000, sendHighWaterMark: 0, routingId: randomUUID(), ...options });
    this.#socket.connect(endpoint);
    for (const { route, credit_frames: frames, credit_bytes: bytes } of routes)
      this.#routes.set(route, { frames, bytes, window: frames, sent: 0, sentBytes: 0, granted: () => {} });
    this.#take();
  }

  async #take() {
    for await (const [header] of this.#socket) {
      const message = unpack(header);
      const route = this.#routes.get(message.route);
      if (message.kind === "credit" && route) {
        route.frames = Math.max(route.frames, Number(message.frames)); // totals, which never shrink
        route.bytes = Math.max(route.bytes, Number(message.bytes));
        route.granted();
      } else if (message.kind === "refused") console.error(`refused: ${message.reason}`);
    }
  }

  /** Sends one frame, as soon as there is credit. */
  async frame(kind, name, fields, payload) {
    const route = this.#routes.get(name);
    const allowed = () =>
      route.sent < route.frames &&
      (route.frames - route.sent >= route.window || route.sentBytes + payload.length <= route.bytes);
    while (!allowed()) await new Promise((resolve) => (route.granted = resolve));
    const header = pack({ kind, route: name, sequence: route.sent, ...fields });
    route.sent += 1;
    route.sentBytes += payload.length;
    await this.#socket.send([header, payload]);
  }

  /** The end of stream, behind the last frame. */
  async end(name, untilNs, pausedNs) {
    const count = this.#routes.get(name).sent;
    await this.#socket.send(pack({ kind: "end", route: name, count, until_ns: untilNs, paused_ns: pausedNs }));
  }

  close() {
    this.#socket.close();
  }
}

const HOPS = 4; // services that may send a recording on

export class Client {
  name = `node-${randomUUID()}`;

  /** Connects to a service that an endpoint or a connection file names. */
  static async connect(named) {
    const client = new Client();
    await client.#open(serviceAt(named));
    client.pinging = setInterval(() => client.#ping().catch(() => {}), 1000); // a sign of life, and of our clock
    return client;
  }

  async #open({ endpoint, keys }) {
    Object.assign(this, { endpoint, keys, control: new Requests(endpoint, keys) });
    this.welcome = await this.control.ask("hello", { client: this.name, clock: clockName() });
    this.catalog = this.welcome.catalog.length ? new Requests(this.reach(this.welcome.catalog), keys) : undefined;
  }

  /** Pauses, resumes or stops a recording at this instant. */
  command(recording, action, atNs) {
    return this.control.ask("control", { client: this.name, recording, action, at_ns: atNs });
  }

  reach(endpoints) {
    return reachable(endpoints, this.endpoint);
  }

  #echo = {};

  async #ping() {
    const pong = await this.control.ask("ping", { client: this.name, at_ns: nowNs(), ...this.#echo });
    this.#echo = { echo_ns: pong.at_ns, echo_at_ns: nowNs() };
  }

  /** The service's reply to `start`, and where the frames go; from another service, if this one says so. */
  async start(fields, been = []) {
    try {
      const started = await this.control.ask("start", { client: this.name, ...fields });
      const data = new Data(this.reach(started.routes[0].endpoints), this.keys, started.routes);
      return { started, data };
    } catch (error) {
      if (error.code !== "redirect") throw error;
      const { endpoint, key } = error.result;
      const isOpen = this.keys.curveServerKey && !key; // what is encrypted stays so
      const isHere = this.endpoint.startsWith("tcp:") && !endpoint.startsWith("tcp:");
      if (isOpen || isHere || been.length === HOPS || [...been, this.endpoint].includes(endpoint))
        throw new Error(`${this.endpoint} sends the recording to ${endpoint}, where it is not followed`);
      been.push(this.endpoint);
      await this.control.ask("bye", { client: this.name });
      for (const socket of [this.control, this.catalog]) socket?.close();
      await this.#open({ endpoint, keys: key ? { ...this.keys, curveServerKey: key } : {} });
      return this.start(fields, been); // with the same ids
    }
  }

  /** Events whose topic begins so, each once and in its recording's order; those that were missed are asked for. */
  async *events(topic) {
    const socket = new Subscriber({ receiveHighWaterMark: 0, ...this.keys });
    socket.connect(this.reach(this.welcome.events));
    socket.subscribe(topic);
    const next = new Map(); // the number of the next event, by recording
    try {
      for await (const [, bytes] of socket) {
        const message = unpack(bytes);
        const isEvent = message.kind === "event";
        const there = isEvent ? { [message.recording]: message.sequence } : (message.next ?? {});
        for (const [recording, end] of Object.entries(there)) {
          const missed = await this.#missed(recording, next.get(recording) ?? 0, end);
          next.set(recording, Math.max(next.get(recording) ?? 0, end));
          yield* missed;
        }
        if (!isEvent || message.sequence < next.get(message.recording)) continue;
        next.set(message.recording, message.sequence + 1);
        yield message;
      }
    } finally {
      socket.close();
    }
  }

  /** A recording's events from number `from` to before `end`, as far as they are kept. */
  async #missed(recording, from, end) {
    const found = [];
    while (from < end) {
      const events = await this.control.ask("ask_events", { recorder: "", recording, sequence: from });
      found.push(...events.filter(({ sequence }) => sequence < end));
      from = events.length ? events.at(-1).sequence + 1 : end;
    }
    return found;
  }

  /** The bytes of a recording's file, in order, some of them under way at any time. */
  async *fetch(recording, size) {
    const asked = [];
    for (let start = 0; start < size || asked.length; ) {
      while (start < size && asked.length < FETCH_CREDIT) {
        asked.push(this.catalog.ask("fetch", { recording, start, size: Math.min(FETCH_BYTES, size - start) }));
        start += FETCH_BYTES;
      }
      yield await asked.shift();
    }
  }

  async close() {
    clearInterval(this.pinging);
    await this.control.ask("bye", { client: this.name });
    this.control.close();
    this.catalog?.close();
  }
}
