// What test_compression asks of a client, for Node's ws, Bun and a browser: take every
// message, send the one before each "again" back, and report what came.
//   node receiver.mjs URL OPTIONS_AS_JSON FOLDER_WITH_WS
//   bun receiver.mjs URL OPTIONS_AS_JSON
// A browser imports it and calls receive.

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1)
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = -1;
  for (const byte of bytes) value = (value >>> 8) ^ table[(value ^ byte) & 255];
  return ~value >>> 0;
}

function seen(data) {
  const isText = typeof data === "string";
  const bytes = isText ? new TextEncoder().encode(data) : new Uint8Array(data);
  return [isText ? "text" : "binary", bytes.length, crc32(bytes)];
}

export function receive(socket) {
  const messages = [];
  let before;
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      messages.push(seen(data));
      if (data === "again") socket.send(before);
      else before = data;
    };
    socket.onerror = () => reject(new Error("an error event"));
    socket.onclose = ({ code, reason }) => resolve({ messages, close: [code, reason] });
  });
}

if (typeof process !== "undefined") {
  const [url, options, folder] = process.argv.slice(2);
  let Socket = globalThis.WebSocket;
  if (folder) {
    const { createRequire } = await import("node:module");
    Socket = createRequire(`${folder}/`)("ws");
  }
  console.log(JSON.stringify(await receive(new Socket(url, JSON.parse(options)))));
}
