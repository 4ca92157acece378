// A scrolling area chart on a canvas: sharp on every screen, redrawn as time passes.

const SPAN = 30; // seconds from the left edge to the right
const GAP = 1; // seconds without a sample that break the line
const EASE = 0.12; // share of the way that the scale moves towards its goal per frame
const PAD = { top: 20, right: 7, bottom: 6 };

export class Chart {
  #canvas; #context; #series; #format; #least; #top;
  #points = [];
  #pointer = null;

  // series: [{ key, color }] where color names a CSS custom property holding "r g b";
  // limit: the fixed top of the scale, or undefined for one that fits the data.
  constructor(canvas, { series, format, limit, least = 1 }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#series = series;
    this.#format = format;
    this.#least = least;
    this.limit = limit;
    this.#top = limit ?? least;
    canvas.addEventListener("pointermove", (event) => (this.#pointer = event.offsetX));
    canvas.addEventListener("pointerleave", () => (this.#pointer = null));
  }

  add(point) {
    const points = this.#points;
    if (points.length && point.time <= points.at(-1).time) return;
    points.push(point);
    while (points[1]?.time < point.time - SPAN) points.shift();
  }

  // Returns the point under the pointer, if there is one.
  draw(now) {
    const { width, height } = this.#resize();
    const context = this.#context;
    const colors = getComputedStyle(this.#canvas);
    const frame = {
      width,
      base: height - PAD.bottom,
      x: (time) => width - PAD.right - ((now - time) / SPAN) * (width - PAD.right),
      y: (value) =>
        height - PAD.bottom - (value / this.#top) * (height - PAD.bottom - PAD.top),
    };
    this.#rescale();
    context.clearRect(0, 0, width, height);
    this.#drawGrid(frame, colors);
    const shown = upTo(this.#points, now);
    for (const { key, color } of this.#series) {
      const rgb = colors.getPropertyValue(color);
      for (const run of runs(shown, key)) this.#drawRun(frame, run, key, rgb);
    }
    return this.#drawPointer(frame, shown, colors);
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    const [pixelWidth, pixelHeight] = [width * ratio, height * ratio].map(Math.round);
    if (this.#canvas.width !== pixelWidth || this.#canvas.height !== pixelHeight) {
      this.#canvas.width = pixelWidth;
      this.#canvas.height = pixelHeight;
      this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    return { width, height };
  }

  #rescale() {
    if (this.limit) {
      this.#top = this.limit;
      return;
    }
    const values = this.#series.flatMap(({ key }) =>
      this.#points.map((point) => point[key] ?? 0));
    const goal = roundUp(Math.max(this.#least, ...values));
    this.#top += (goal - this.#top) * EASE;
    if (Math.abs(goal - this.#top) < goal / 500) this.#top = goal;
  }

  #drawGrid({ width, y }, colors) {
    const context = this.#context;
    context.strokeStyle = colors.getPropertyValue("--grid");
    context.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      const line = Math.round(y(this.#top * share)) + 0.5;
      context.beginPath();
      context.moveTo(0, line);
      context.lineTo(width, line);
      context.stroke();
    }
    context.font = `11px ${colors.fontFamily}`;
    context.fillStyle = colors.getPropertyValue("--quiet");
    context.fillText(this.#format(this.limit ?? roundUp(this.#top * 0.999)), 1, 13);
  }

  #drawRun({ base, x, y }, run, key, rgb) {
    const context = this.#context;
    const line = new Path2D();
    for (const point of run) line.lineTo(x(point.time), y(point[key]));

    const area = new Path2D(line);
    area.lineTo(x(run.at(-1).time), base);
    area.lineTo(x(run[0].time), base);
    const shade = context.createLinearGradient(0, PAD.top, 0, base);
    shade.addColorStop(0, `rgb(${rgb} / 0.32)`);
    shade.addColorStop(1, `rgb(${rgb} / 0.02)`);
    context.fillStyle = shade;
    context.fill(area);

    context.strokeStyle = `rgb(${rgb})`;
    context.lineWidth = 1.75;
    context.lineJoin = "round";
    context.stroke(line);
    this.#drawDot(x(run.at(-1).time), y(run.at(-1)[key]), rgb);
  }

  #drawDot(x, y, rgb) {
    const context = this.#context;
    for (const [radius, strength] of [[6, 0.22], [2.75, 1]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = `rgb(${rgb} / ${strength})`;
      context.fill();
    }
  }

  #drawPointer({ base, x, y }, shown, colors) {
    if (this.#pointer === null || !shown.length) return null;
    const distance = (point) => Math.abs(x(point.time) - this.#pointer);
    const point = shown.reduce((a, b) => (distance(a) < distance(b) ? a : b));
    const context = this.#context;
    context.strokeStyle = colors.getPropertyValue("--quiet");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x(point.time), PAD.top);
    context.lineTo(x(point.time), base);
    context.stroke();
    for (const { key, color } of this.#series) {
      if (point[key] === null) continue;
      this.#drawDot(x(point.time), y(point[key]), colors.getPropertyValue(color));
    }
    return point;
  }
}

// The points until now; the last one is interpolated, so that the line's end glides.
function upTo(points, now) {
  const next = points.findIndex((point) => point.time > now);
  if (next === -1) return points;
  const [before, after] = [points[next - 1], points[next]];
  const shown = points.slice(0, next);
  if (!before || after.time - before.time > GAP) return shown;
  const share = (now - before.time) / (after.time - before.time);
  const end = { ...before, time: now };
  for (const key in before) {
    if (key !== "time" && before[key] !== null && after[key] !== null) {
      end[key] = before[key] + (after[key] - before[key]) * share;
    }
  }
  return [...shown, end];
}

// The pieces of a series without a gap in them.
function runs(points, key) {
  const found = [];
  let last;
  for (const point of points) {
    if (point[key] === null) {
      last = undefined;
      continue;
    }
    if (!last || point.time - last.time > GAP) found.push([]);
    found.at(-1).push(point);
    last = point;
  }
  return found;
}

// The next of 1, 2, 5, 10, 20, 50, …
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 2, 5, 10].map((step) => step * power);
  return steps.find((step) => step >= value * 0.999);
}
