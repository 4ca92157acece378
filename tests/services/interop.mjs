// What test_interop asks of a client, with Node's ws. Prints the answers as JSON.
//   node interop.mjs URL [AUTHORITY_FILE]
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [url, authority] = process.argv.slice(2);
const ca = authority ? readFileSync(authority) : undefined;
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20];

function open(path, protocols = []) {
  const socket = new WebSocket(url + path, protocols, { ca });
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
  });
}

function next(socket, event = "message") {
  return new Promise((resolve, reject) => {
    socket.once(event, (...values) => resolve(values));
    socket.once("error", reject);
  });
}

async function echo(path) {
  const socket = await open(path);
  const answers = { extensions: socket.extensions, sizes: [] };
  for (const size of sizes) {
    const answer = next(socket);
    socket.send(Buffer.alloc(size, 7), { binary: true });
    const [data, isBinary] = await answer;
    if (!isBinary || !data.every((byte) => byte === 7)) throw new Error("not the same");
    answers.sizes.push(data.length);
  }
  let answer = next(socket);
  socket.send("Grüße 😀");
  answers.text = String((await answer)[0]);
  answer = next(socket);
  for (const piece of ["a", "b", "c"]) socket.send(piece, { fin: piece === "c" });
  answers.fragments = String((await answer)[0]);
  answer = next(socket, "pong");
  socket.ping("there?");
  answers.pong = String((await answer)[0]);
  answer = next(socket, "close");
  socket.close(4321, "bye");
  const [code, reason] = await answer;
  answers.close = [code, String(reason)];
  return answers;
}

async function numbers() {
  const socket = await open("/subscribe/numbers");
  const found = [];
  for (let at = 0; at < 20; at += 1) found.push(Number((await next(socket))[0]));
  socket.terminate();
  return found;
}

async function closedByServer() {
  const socket = await open("/obedient");
  const answer = next(socket, "close");
  socket.send("close");
  const [code, reason] = await answer;
  return [code, String(reason)];
}

async function subprotocol() {
  const socket = await open("/spoken", ["other", "chat.v1", "chat.v2"]);
  socket.terminate();
  return socket.protocol;
}

console.log(
  JSON.stringify({
    echo: [await echo("/echo"), await echo("/echo-async")],
    numbers: await numbers(),
    closedByServer: await closedByServer(),
    subprotocol: await subprotocol(),
  }),
);
