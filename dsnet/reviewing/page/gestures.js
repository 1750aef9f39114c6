// Mouse, pen and fingers on the canvas, told as what they mean.

const WHEEL = 0.0016;

/**
 * Handlers: `tool()` names the tool in hand ("look", "brush" or "draw"); `end(i, point)` drags a
 * mark's end and `ended()` lets it go; `stroke(phase, point)` and `axis(phase, point)` with phase
 * "begin", "move" or "end"; `hover(point)`; `window(dx, dy)` in CSS pixels. Points are crop pixels.
 */
export function watchPointers(canvas, view, handlers) {
  const down = new Map();
  let doing = null;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    down.set(event.pointerId, place(event));
    if (down.size === 2) {
      finish();
      doing = { kind: "pinch" };
      return;
    }
    if (down.size > 2 || doing) return;
    doing = begin(event, place(event));
    event.preventDefault();
  });

  function begin(event, at) {
    if (event.button === 1 || event.shiftKey) return { kind: "pan" };
    if (event.button !== 0) return { kind: "window" };
    const tool = handlers.tool();
    if (tool === "brush" || tool === "draw") {
      const kind = tool === "brush" ? "stroke" : "axis";
      handlers[kind]("begin", view.toImage(at));
      return { kind };
    }
    const end = view.endAt(at, event.pointerType);
    return end < 0 ? { kind: "window" } : { kind: "end", end };
  }

  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    const before = down.get(event.pointerId);
    if (!before || !doing) {
      handlers.hover(view.toImage(at), view.endAt(at, event.pointerType));
      return;
    }
    if (doing.kind === "pinch") {
      pinch(event.pointerId, before, at);
    } else if (doing.kind === "pan") {
      view.pan(at[0] - before[0], at[1] - before[1]);
    } else if (doing.kind === "window") {
      handlers.window(at[0] - before[0], at[1] - before[1]);
    } else if (doing.kind === "end") {
      handlers.end(doing.end, view.toImage(at));
    } else {
      for (const each of event.getCoalescedEvents?.() ?? [event]) {
        handlers[doing.kind]("move", view.toImage(place(each)));
      }
    }
    down.set(event.pointerId, at);
  });

  /** Two fingers: their distance zooms, their middle pans. */
  function pinch(id, before, at) {
    const other = [...down].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const span = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
    view.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    if (span(before) > 0) {
      view.zoom(span(at) / span(before), [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
    }
  }

  function finish() {
    if (doing?.kind === "end") handlers.ended();
    if (doing?.kind === "stroke" || doing?.kind === "axis") handlers[doing.kind]("end");
    doing = null;
  }

  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      down.delete(event.pointerId);
      if (doing?.kind !== "pinch" || !down.size) finish();
    });
  }
  canvas.addEventListener("pointerleave", () => {
    if (!doing) handlers.hover(null, -1);
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      view.zoom(Math.exp(-WHEEL * event.deltaY), place(event));
    },
    { passive: false },
  );
}
