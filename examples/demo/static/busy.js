// Runs in a worker: a WebSocket whose thread can be kept busy. Then nothing reads, the
// buffers on the way fill up, and the channel's policy says what this tab will get.

const socket = new WebSocket(new URL("quotes", location.href.replace(/^http/, "ws")));
const shares = new Map(); // the newest quote of each
const counts = { received: 0, skipped: 0, healed: 0 };

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if ("skipped" in message) {
    counts.skipped += message.skipped; // the server says so once we read again
    return;
  }
  const before = shares.get(message.symbol)?.number ?? message.number - 1;
  counts.received += 1;
  if (message.number > before + 1) counts.healed += 1; // newer than what we wait for
  shares.set(message.symbol, message);
};
socket.onclose = () => postMessage({ closed: true });

onmessage = ({ data: { seconds } }) => {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end); // as busy as a page with far too much to do
};

setInterval(() => {
  const quotes = [...shares.values()].map(({ symbol, number, prices }) => (
    { symbol, number, price: prices.at(-1) }));
  if (quotes.length) postMessage({ quotes, counts });
}, 100);
