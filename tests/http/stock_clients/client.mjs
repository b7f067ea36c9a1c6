// Posts what it reads, a line each: path, type, body. With and without an offer of another protocol.
import http from "node:http";
import { createInterface } from "node:readline";

const base = process.argv[2];
const lasting = new http.Agent({ keepAlive: true, maxSockets: 1 });
const offer = { Connection: "Upgrade, HTTP2-Settings", Upgrade: "h2c", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA" };

function post(way, path, body, headers, agent) {
  return new Promise((resolve, reject) => {
    const request = http.request(base + path, { method: "POST", headers, agent }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part) => (text += part)).on("end", () => {
        console.log(`${answer.statusCode}\t${way}\t${text}`);
        resolve();
      });
    });
    request.on("error", reject);
    if (headers.Expect) {
      request.on("continue", () => request.end(body));
      request.flushHeaders();
    } else {
      for (let at = 0; at < body.length; at += 40) request.write(body.subarray(at, at + 40));
      request.end();
    }
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const [path, type, text] = line.split("\t");
  const body = Buffer.from(text);
  const typed = { "Content-Type": type };
  const sized = { ...typed, "Content-Length": body.length };
  await post("of a length", path, body, sized, lasting);
  await post("in chunks", path, body, typed, lasting);
  await post("expecting", path, body, { ...sized, Expect: "100-continue" }, lasting);
  await post("offering", path, body, { ...sized, ...offer }, lasting);
  await post("offering, in chunks", path, body, { ...typed, ...offer }, lasting);
  await post("offering, expecting", path, body, { ...sized, ...offer, Expect: "100-continue" }, lasting);
  const answer = await fetch(base + path, { method: "POST", headers: typed, body });
  console.log(`${answer.status}\tfetch\t${await answer.text()}`);
}
lasting.destroy();
