// Bun as a peer: `Bun.serve()` with its native topics through `server.publish()`.
"use strict";

const contract = require("./contract.cjs");

const { deflate } = contract;

const server = Bun.serve({
  hostname: contract.HOST,
  port: contract.port,
  fetch(request, server) {
    const channel = contract.channel(new URL(request.url).pathname);
    if (server.upgrade(request, { data: { channel } })) return undefined;
    return new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    perMessageDeflate: deflate,
    maxPayloadLength: contract.MAX_MESSAGE,
    backpressureLimit: contract.MAX_BEHIND,
    open(ws) {
      if (ws.data.channel !== null) ws.subscribe(ws.data.channel);
    },
    message(ws, message) {
      if (ws.data.channel === null) ws.send(message, deflate);
      else server.publish(ws.data.channel, message, deflate);
    },
  },
});
contract.ready();
