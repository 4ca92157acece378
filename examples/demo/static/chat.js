// The chat room: what people write is only ever put into the page as text.

const NAME = "fastws.name";

export class Chat {
  #list = document.querySelector("#lines");
  #form = document.querySelector("#say");
  #refusal = document.querySelector("#refusal");
  #you = new Set(); // a new connection has a new id: remember all that were ours
  #last = { time: 0 };
  #atEnd = true; // follow the newest line, unless somebody reads further up

  constructor(send) {
    const { name, text } = this.#form.elements;
    name.value = recall() ?? `Guest ${100 + Math.floor(Math.random() * 900)}`;
    name.addEventListener("change", () => remember(name.value));
    const list = this.#list;
    list.addEventListener("scroll", () => {
      this.#atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    });
    new ResizeObserver(() => this.#follow()).observe(list);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (send({ type: "say", name: name.value, text: text.value })) {
        text.value = "";
        this.refuse("");
      } else {
        this.refuse("Not connected. Your message is kept until the server is back.");
      }
    });
  }

  welcome({ you, lines }) {
    this.#you.add(you);
    lines.forEach((line) => this.add(line));
    this.refuse("");
  }

  refuse(reason) {
    this.#refusal.textContent = reason;
  }

  add(line) {
    if (line.time <= this.#last.time) return; // known from before the connection broke
    const list = this.#list;
    list.querySelector(".empty")?.remove();
    list.append(this.#item(line));
    if (list.children.length > 200) list.firstElementChild.remove();
    this.#last = line;
    this.#atEnd ||= this.#you.has(line.from);
    this.#follow();
  }

  #follow() {
    if (this.#atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #item(line) {
    const item = element("li", "line");
    const goesOn = line.from === this.#last.from && line.time - this.#last.time < 120;
    item.classList.toggle("mine", this.#you.has(line.from));
    item.classList.toggle("goes-on", goesOn && line.name === this.#last.name);
    item.style.setProperty("--hue", hue(line.name));
    const time = new Date(line.time * 1000);
    const clock = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    item.append(
      element("span", "face", [...line.name.trim()][0].toUpperCase()),
      element("span", "who", line.name),
      element("time", "when", clock),
      element("p", "text", line.text),
    );
    item.querySelector(".face").ariaHidden = true;
    item.querySelector("time").dateTime = time.toISOString();
    return item;
  }
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  made.dir = "auto";
  return made;
}

function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}

// A browser that blocks storage throws: then the name lasts as long as the page.
function recall() {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}

function remember(name) {
  try {
    localStorage.setItem(NAME, name);
  } catch (error) {
    console.info("The name is not kept:", error.message);
  }
}
