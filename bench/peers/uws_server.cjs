// uWebSockets.js as a peer: its native topics through `app.publish()`.
//
// Messages stay ArrayBuffers, as its manual advises. The shared compressor with
// --deflate: a compressed publication is then compressed for each subscriber by it.
"use strict";

const contract = require("./contract.cjs");

// The package falls back to a JavaScript server where its binary doesn't load.
const name = "@trufflesuite/uws-js-unofficial";
const { platform, arch, versions } = process;
contract.load(`${name}/binaries/uws_${platform}_${arch}_${versions.modules}.node`);
const uWS = contract.load(name);

const { deflate } = contract;
const behaviour = {
  compression: deflate ? uWS.SHARED_COMPRESSOR : uWS.DISABLED,
  maxPayloadLength: contract.MAX_MESSAGE,
  maxBackpressure: contract.MAX_BEHIND,
};
const app = uWS.App();

app.ws("/echo", {
  ...behaviour,
  message: (ws, message, isBinary) => ws.send(message, isBinary, deflate),
});

app.ws("/*", {
  ...behaviour,
  upgrade: (response, request, context) =>
    response.upgrade(
      { channel: request.getUrl() },
      request.getHeader("sec-websocket-key"),
      request.getHeader("sec-websocket-protocol"),
      request.getHeader("sec-websocket-extensions"),
      context,
    ),
  open: (ws) => ws.subscribe(ws.getUserData().channel),
  message: (ws, message, isBinary) =>
    app.publish(ws.getUserData().channel, message, isBinary, deflate),
});

app.listen(contract.HOST, contract.port, (listening) => {
  if (!listening) throw new Error(`cannot listen on ${contract.port}`);
  contract.ready();
});
