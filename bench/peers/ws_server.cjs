// ws as a peer: a loop over the connections, each sent the same Buffer.
"use strict";

const contract = require("./contract.cjs");
const { WebSocketServer, OPEN } = contract.load("ws");

const channels = new Map();

function join(ws, channel) {
  const subscribers = channels.get(channel) ?? new Set();
  channels.set(channel, subscribers.add(ws));
  ws.on("close", () => subscribers.delete(ws));
  ws.on("message", (data, isBinary) => {
    const options = { binary: isBinary };
    for (const subscriber of subscribers) {
      if (subscriber.readyState === OPEN) subscriber.send(data, options);
    }
  });
}

const server = new WebSocketServer({
  host: contract.HOST,
  port: contract.port,
  backlog: 4096,
  perMessageDeflate: contract.deflate && { threshold: contract.LEAST_COMPRESSED },
  maxPayload: contract.MAX_MESSAGE,
});
server.on("connection", (ws, request) => {
  ws.on("error", () => ws.terminate());
  const channel = contract.channel(request.url);
  if (channel !== null) join(ws, channel);
  else ws.on("message", (data, binary) => ws.send(data, { binary }));
});
server.on("listening", contract.ready);
