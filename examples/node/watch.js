// Lists the recordings of a service, then prints what happens to any of them, until Ctrl-C:
//   node watch.js /run/user/1000/recsvc/service.json
import { Client } from "./client.js";

const client = await Client.connect(process.argv[2]);
const recordings = client.catalog ? await client.catalog.ask("list", { limit: 100 }) : [];
for (const { recording, state, duration, size_bytes: size, name } of recordings)
  console.log(`${recording}  ${state}  ${duration.toFixed(3)} s  ${size} bytes  ${name}`);
console.log(`watching ${client.welcome.service}`);
process.on("SIGINT", () => client.close().then(() => process.exit()));
for await (const event of client.events(""))
  console.log(`${event.recording} ${event.sequence} ${event.type} ${event.error} ${event.text}`.trim());
