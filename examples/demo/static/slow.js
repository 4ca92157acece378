// The button that makes this tab slow for a while, and what becomes of it.

const BUSY = 4; // seconds without reading
const AFTER = 4; // seconds to see that everything is up to date again

export class SlowTab {
  #button = document.querySelector("#slow");
  #state = document.querySelector("#slow-state");
  #list = document.querySelector("#quotes");
  #worker;

  constructor() {
    this.#button.addEventListener("click", () => this.#start());
  }

  #start() {
    this.#button.disabled = true;
    this.#list.replaceChildren();
    this.#show("reading", "Reading");
    this.#worker = new Worker("busy.js");
    this.#worker.onmessage = ({ data }) =>
      data.closed ? this.#stop("lost", "The connection was lost") : this.#take(data);
  }

  #take({ quotes, counts }) {
    if (this.#state.dataset.state === "reading") {
      this.#worker.postMessage({ seconds: BUSY });
      this.#show("busy", `Busy for ${BUSY} seconds, reads nothing`);
    } else if (this.#state.dataset.state === "busy" && counts.skipped) {
      this.#show("healed", "Reads again: the newest quote of every share is here");
      setTimeout(() => this.#stop("done", "Healed, and never closed"), AFTER * 1000);
    }
    for (const name of ["skipped", "healed"]) {
      document.querySelector(`#${name}`).textContent = counts[name];
    }
    this.#list.replaceChildren(...quotes.map(item));
  }

  #stop(state, text) {
    this.#worker.terminate();
    this.#button.disabled = false;
    this.#show(state, text);
  }

  #show(state, text) {
    this.#state.dataset.state = state;
    this.#state.textContent = text;
    this.#list.className = state;
  }
}

function item({ symbol, number, price }) {
  const made = document.createElement("li");
  const value = document.createElement("b");
  value.textContent = price.toFixed(2);
  made.append(symbol, value);
  made.title = `quote ${number}`;
  return made;
}
