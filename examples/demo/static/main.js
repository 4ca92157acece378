// Puts the page together: one connection, six charts, one chat room, a slow button.

import { Chart } from "./chart.js";
import { Chat } from "./chat.js";
import { Live } from "./live.js";
import { SlowTab } from "./slow.js";

const DELAY = 0.15; // seconds that the charts run behind, so that they never wait
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const FRAME = calm ? 1000 : 1000 / 30; // milliseconds between two pictures
const READING = 250; // milliseconds: numbers that change faster can't be read

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact" });

const percent = (value) => `${number.format(value * 100)} %`;
const count = (value) => (value < 10_000 ? number : short).format(value);
const perSecond = (value) => `${count(value)}/s`;
const bytesPerSecond = (value) => `${bytes(value)}/s`;

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), 4);
  const amount = value / 1000 ** power;
  return `${power ? Number(amount.toPrecision(3)) : Math.round(value)} ${units[power]}`;
}

const METRICS = {
  machine: [
    { title: "CPU", format: percent, limit: 1,
      series: [{ key: "cpu", color: "--blue" }] },
    { title: "Memory", format: bytes, limit: 1,
      series: [{ key: "memory", color: "--violet" }] },
    { title: "Network", format: bytesPerSecond, least: 1000,
      series: [{ key: "network_in", color: "--aqua", label: "in" },
               { key: "network_out", color: "--orange", label: "out" }] },
  ],
  server: [
    { title: "Connections", format: count, least: 4,
      series: [{ key: "connections", color: "--green" }] },
    { title: "Messages in", format: perSecond, least: 4,
      series: [{ key: "messages", color: "--magenta" }] },
    { title: "Deliveries", format: perSecond, least: 20,
      series: [{ key: "deliveries", color: "--yellow" }] },
  ],
};

const $ = (selector) => document.querySelector(selector);

class Card {
  constructor(parent, metric) {
    const root = $("#card").content.cloneNode(true).firstElementChild;
    root.querySelector("h3").textContent = metric.title;
    root.querySelector("canvas").ariaLabel = `${metric.title}, the last 30 seconds`;
    this.metric = metric;
    this.values = metric.series.map(({ key, color, label }) => {
      const value = document.createElement("span");
      value.className = "value";
      value.dataset.metric = key;
      value.dataset.label = label ?? "";
      value.style.setProperty("--color", `var(${color})`);
      return value;
    });
    root.querySelector(".values").append(...this.values);
    this.chart = new Chart(root.querySelector("canvas"), metric);
    parent.append(root);
  }

  show(sample) {
    this.metric.series.forEach(({ key }, index) => {
      const known = sample[key] !== null;
      this.values[index].textContent = known ? this.metric.format(sample[key]) : "n/a";
    });
  }
}

const cards = Object.entries(METRICS).flatMap(([group, metrics]) =>
  metrics.map((metric) => new Card($(`#${group} .cards`), metric)));
const chat = new Chat((message) => live.send(message));
new SlowTab();
let latest = null;
let started = null;
let ahead = -Infinity; // the server's clock minus ours, in seconds

const handlers = {
  hello({ cores, memory, samples, ...hello }) {
    started = hello.started;
    ahead = -Infinity;
    cards.find(({ metric }) => metric.title === "Memory").chart.limit = memory ?? 1;
    $("#cores").textContent = cores === 1 ? "1 core" : `${cores} cores`;
    samples.forEach(take);
    chat.welcome(hello);
  },
  sample: ({ sample }) => take(sample),
  line: ({ line }) => chat.add(line),
  refused: ({ reason }) => chat.refuse(reason),
  pong({ sent }) {
    $("#round-trip").textContent = `${(performance.now() - sent).toFixed(1)} ms`;
    $(".round-trip").hidden = false;
  },
};

function take(sample) {
  latest = sample;
  // The sample that travelled fastest says best how far the clocks are apart.
  ahead = Math.max(ahead, sample.time - performance.now() / 1000);
  cards.forEach(({ chart }) => chart.add(sample));
}

const live = new Live("live", {
  onMessage: (message) => handlers[message.type]?.(message),
  onState(state, wait) {
    $("#state").dataset.state = state;
    $("#state").textContent = {
      connecting: "Connecting",
      open: "Live",
      waiting: `Reconnecting in ${Math.ceil(wait / 1000)} s`,
    }[state];
    $(".round-trip").hidden = true;
  },
});

setInterval(() => live.send({ type: "ping", sent: performance.now() }), 1000);

function since(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

let drawn = 0;
let read = 0;

function animate(time) {
  requestAnimationFrame(animate);
  if (!latest || time - drawn < FRAME - 4) return;
  drawn = time;
  const now = performance.now() / 1000 + ahead - DELAY;
  const pointed = cards.map(({ chart }) => chart.draw(now));
  if (time - read < READING) return;
  read = time;
  cards.forEach((card, index) => card.show(pointed[index] ?? latest));
  $("#uptime").textContent = `up ${since(latest.time - started)}`;
  $("#present").textContent =
    latest.tabs === 1 ? "1 tab open" : `${count(latest.tabs)} tabs open`;
}
requestAnimationFrame(animate);
