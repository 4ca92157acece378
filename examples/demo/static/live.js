// A WebSocket that comes back by itself when the server restarts, the network changes
// or the laptop wakes up. Messages are JSON in both directions.

const FIRST_DELAY = 250; // milliseconds before the first new attempt, then doubled
const LONGEST_DELAY = 8000;
const SILENCE = 5000; // the server speaks ten times a second: now it must be gone

export class Live {
  #url; #onMessage; #onState; #socket; #retry; #silence;
  #attempts = 0;

  constructor(path, { onMessage, onState }) {
    this.#url = new URL(path, location.href.replace(/^http/, "ws"));
    this.#onMessage = onMessage;
    this.#onState = onState;
    addEventListener("online", () => this.#hurry());
    addEventListener("visibilitychange", () => document.hidden || this.#hurry());
    this.#connect();
  }

  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#onState("connecting");
    const socket = new WebSocket(this.#url);
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    socket.onclose = () => this.#lost();
    this.#socket = socket;
    this.#watch();
  }

  #heard(message) {
    this.#watch();
    if (this.#attempts !== -1) {
      this.#attempts = -1; // it works: the next break starts with the first delay again
      this.#onState("open");
    }
    this.#onMessage(message);
  }

  #watch() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lost(), SILENCE);
  }

  #lost() {
    clearTimeout(this.#silence);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#attempts += 1;
    // Half of the delay is chance, or all tabs would come back in the same instant.
    const delay = Math.min(FIRST_DELAY * 2 ** this.#attempts, LONGEST_DELAY);
    const wait = delay / 2 + (Math.random() * delay) / 2;
    this.#onState("waiting", wait);
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  #hurry() {
    if (this.#retry !== undefined) this.#connect();
  }
}
