// What every JavaScript server here shares: its arguments, the ready line, channels.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const HOST = "127.0.0.1";
// As in contract.py: several defaults would drop messages that the load counts on.
const MAX_MESSAGE = 16 << 20;
const MAX_BEHIND = 64 << 20;
const LEAST_COMPRESSED = 64;

const [port, ...flags] = process.argv.slice(2);
const installed = path.resolve(__dirname, "../build/peers/node/package.json");

module.exports = {
  HOST,
  MAX_MESSAGE,
  MAX_BEHIND,
  LEAST_COMPRESSED,
  port: Number(port),
  deflate: flags.includes("--deflate"),
  load: createRequire(installed),
  channel: (url) => (url === "/echo" ? null : url),
  ready: () => process.stdout.write("ready\n"),
};
