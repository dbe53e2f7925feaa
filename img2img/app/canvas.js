// What is drawn on the canvas becomes the component's value: a PNG as text, one after another.
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d");
const pen = element.querySelector(".pen");
const thickness = element.querySelector(".thickness");
const INTERVAL = 250; // ms between two pictures while a stroke is being drawn
let strokes = [];
let current = null;
let waiting = null;

function line(stroke) {
  context.strokeStyle = context.fillStyle = stroke.colour;
  context.lineWidth = stroke.width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.arc(...stroke.points[0], stroke.width / 2, 0, 2 * Math.PI); // a click alone is a dot,
  context.fill(); // and a line without length draws none
  context.beginPath();
  for (const point of stroke.points) context.lineTo(...point);
  context.stroke();
}

function redraw() {
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  strokes.forEach(line);
}

function send() {
  clearTimeout(waiting);
  waiting = null;
  props.value = strokes.length ? canvas.toDataURL("image/png") : "";
  trigger("input");
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || current) return;
  canvas.setPointerCapture(event.pointerId);
  const width = Number(thickness.value);
  current = { colour: pen.value, width, points: [place(event)], pointer: event.pointerId };
  strokes.push(current);
  redraw();
});

canvas.addEventListener("pointermove", (event) => {
  if (!current || event.pointerId !== current.pointer) return;
  for (const step of event.getCoalescedEvents?.() ?? [event]) current.points.push(place(step));
  redraw();
  waiting ??= setTimeout(send, INTERVAL);
});

// It follows pointerup and pointercancel, and comes where the canvas is hidden, too.
canvas.addEventListener("lostpointercapture", (event) => {
  if (!current || event.pointerId !== current.pointer) return;
  current = null;
  send();
});

element.querySelector(".undo").addEventListener("click", () => {
  current = null;
  strokes.pop();
  redraw();
  send();
});

element.querySelector(".clear").addEventListener("click", () => {
  current = null;
  strokes = [];
  redraw();
  send();
});

redraw();
