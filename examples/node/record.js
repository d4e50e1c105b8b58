// Records two seconds of tone and counting pictures, pauses a little in between, and saves the file:
//   node record.js ipc:///run/user/1000/recsvc/control -o out.webm
//   node record.js /run/user/1000/recsvc/service.json -o out.webm
import { randomUUID } from "node:crypto";
import { copyFileSync, createWriteStream } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, nowNs } from "./client.js";

const RATE = 48_000;
const BLOCK = RATE / 50; // 20 ms
const [WIDTH, HEIGHT] = [160, 120];

/** A block of a tone of 440 Hz. */
function sound(number) {
  const samples = new Int16Array(BLOCK);
  for (let n = 0; n < BLOCK; n++)
    samples[n] = 16_000 * Math.sin((2 * Math.PI * 440 * (number * BLOCK + n)) / RATE);
  return new Uint8Array(samples.buffer);
}

/** A grey i420 picture: its number in binary, as eight bars, the highest bit on the left. */
function picture(number) {
  const payload = new Uint8Array((WIDTH * HEIGHT * 3) / 2).fill(128); // Y, then U and V of half the sides
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) {
      const bit = (number >> (7 - Math.floor((x * 8) / WIDTH))) & 1;
      payload[y * WIDTH + x] = bit ? 235 : 16;
    }
  return payload;
}

const {
  values: given,
  positionals: [service],
} = parseArgs({
  options: { output: { type: "string", short: "o", default: "node.webm" }, seconds: { type: "string", default: "2" } },
  allowPositionals: true,
});
const client = await Client.connect(service);
console.log(`${client.welcome.service}, recsvc ${client.welcome.version}`);

const recorder = randomUUID();
const recording = `node-${Date.now()}-${recorder.slice(0, 8)}`;
const beginNs = nowNs();
const { started, data } = await client.start({
  recorder,
  recording,
  name: "from Node.js",
  tracks: [
    {
      track: "sound",
      kind: "audio",
      captured: false,
      settings: { sample_rate: RATE, channel_count: 1, sample_format: "s16" },
    },
    {
      track: "pictures",
      kind: "video",
      captured: false,
      settings: { width: WIDTH, height: HEIGHT, pixel_format: "i420" },
    },
  ],
  options: { mime_type: "video/webm", audio_bits_per_second: 128_000, video_bits_per_second: 1_000_000 },
  at_ns: beginNs,
}).catch(async (error) => {
  console.error(error.message); // such as busy
  await client.close();
  process.exit(1);
});
const finished = listen();
const [soundRoute, pictureRoute] = started.routes.map(({ route }) => route);

// Frames are due one block of sound after the other; their capture times are exact, whenever they are sent.
const dueNs = (block) => beginNs + (BigInt(block) * 1_000_000_000n * BigInt(BLOCK)) / BigInt(RATE);
const half = Math.round(25 * Number(given.seconds)); // blocks
const pauseBlocks = 30;
let pausedNs = 0n;
let block = 0;
let [blocks, pictures] = [0, 0];

async function push(count) {
  for (const last = block + count; block < last; block++) {
    await sleep(Number(dueNs(block) - nowNs()) / 1e6);
    const at = { captured_ns: dueNs(block), paused_ns: pausedNs };
    const form = { sample_format: "s16", sample_rate: RATE, channel_count: 1, sample_count: BLOCK };
    await data.frame("audio", soundRoute, { ...at, ...form }, sound(blocks++));
    if (block % 2) continue;
    const size = { pixel_format: "i420", width: WIDTH, height: HEIGHT };
    await data.frame("video", pictureRoute, { ...at, ...size }, picture(pictures++));
  }
}

await push(half);
const pauseNs = dueNs(block);
await client.command(recording, "pause", pauseNs);
block += pauseBlocks;
await sleep(Number(dueNs(block) - nowNs()) / 1e6);
await client.command(recording, "resume", dueNs(block));
pausedNs += dueNs(block) - pauseNs; // what comes now lies so much earlier in the file
await push(half);

const stopNs = dueNs(block);
for (const route of [soundRoute, pictureRoute]) await data.end(route, stopNs, pausedNs);
await client.command(recording, "stop", stopNs);
const { blob, statistics } = await finished;
await save();
console.log(JSON.stringify({ samples: blocks * BLOCK, pictures, duration: blob.duration, tracks: statistics.tracks }));
data.close();
await client.close();

/** Prints the recording's events until it is finished; what its last data are. */
async function listen() {
  let last;
  for await (const event of client.events(`${client.name}/${recorder}`)) {
    console.log(`event ${event.sequence}: ${event.type} ${event.error} ${event.text}`.trim());
    if (event.whole) last = { blob: event.whole, statistics: event.statistics };
    if (event.type === "stop") return last;
  }
}

async function save() {
  if (!client.catalog) return copyFileSync(started.path, given.output); // a service that keeps nothing is on our machine
  const file = createWriteStream(given.output);
  for await (const bytes of client.fetch(recording, blob.end)) file.write(bytes);
  await new Promise((resolve) => file.end(resolve));
}
