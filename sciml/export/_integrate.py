"""Template: adaptive integration with dense output and an exact discrete adjoint.

What lies below the first marker is copied into every exported file, where `method` comes from one
of the templates beside this one. It imports nothing but jax.
"""

import jax
import jax.numpy as jnp
from jax import lax

# == copied ==


MESSAGES = (
    "solved",
    "the largest number of steps was taken before t1",
    "the step size fell to nothing: the solution is singular, or too stiff for this method",
    "the initial state, or its rate, is not finite",
    "a requested time is not between t0 and t1",
)


def integrate(field, method, max_steps, t0, t1, y0, args, fixed, ts, rtol, atol, record=False):
    """Steps from t0 to t1 under error control; returns the states at `ts`, and a record of steps.

    The equation is y' = field(t, y, args, fixed), where `fixed` holds what has no derivative. Time
    runs as s from 0 to |t1 - t0|. A step is accepted where the root mean square of its error, over
    atol + rtol |y|, is at most 1; the next one is sized by the PI controller of Gustafsson (1991).
    A record is what `backward` needs. Step sizes carry no derivative.
    """
    step, interpolate, order = method
    length = lax.stop_gradient(jnp.abs(t1 - t0))
    way = jnp.where(t1 < t0, -1, 1).astype(y0.dtype)
    rtol = jnp.maximum(rtol, 10 * jnp.finfo(y0.dtype).eps)
    due, place = schedule(t0, t1, way, ts)

    def rates(s, y):
        return way * field(t0 + way * s, y, args, fixed)

    def unfinished(c):
        return (c["status"] == 0) & (c["s"] < length)

    def advance(c):
        s, y, f = c["s"], c["y"], c["f"]
        last = c["h"] >= 0.999 * (length - s)
        h = jnp.where(last, length - s, c["h"])
        s1 = jnp.where(last, length, s + h)
        y1, f1, error, stages = step(rates, s, y, f, h)
        size = rms(error / scale(rtol, atol, y, y1))
        finite = jnp.isfinite(size) & jnp.all(jnp.isfinite(y1)) & jnp.all(jnp.isfinite(f1))
        accept = finite & (size <= 1)
        factor, before = resize(size, c["before"], finite, accept, order)

        def outstanding(saving):
            j, _ = saving
            return accept & (j < ts.shape[0]) & (due[jnp.minimum(j, ts.shape[0] - 1)] <= s1)

        def save(saving):
            j, ys = saving
            value = interpolate((due[j] - s) / h, y, y1, h, stages)
            return j + 1, ys.at[place[j]].set(value)

        saved, ys = lax.while_loop(outstanding, save, (c["saved"], c["ys"]))
        steps = c["steps"] + 1
        s_next = jnp.where(accept, s1, s)
        h_next = lax.stop_gradient(h * factor)
        exhausted = (steps >= max_steps) & (s_next < length)
        stuck = (s_next + h_next <= s_next) & (s_next < length)
        new = {
            "s": s_next,
            "y": jnp.where(accept, y1, y),
            "f": jnp.where(accept, f1, f),
            "h": h_next,
            "before": before,
            "status": jnp.where(stuck, 2, jnp.where(exhausted, 1, 0)).astype(jnp.int32),
            "steps": steps,
            "saved": saved,
            "ys": ys,
        }
        if record:
            i = jnp.where(accept, c["record"]["count"], max_steps)  # beyond the end: dropped
            row = {"s": s, "h": h, "y": y, "saved": c["saved"]}
            new["record"] = {
                k: c["record"][k].at[i].set(row[k], mode="drop") for k in ("s", "h", "y", "saved")
            }
            new["record"]["count"] = c["record"]["count"] + accept.astype(jnp.int32)
        return new

    f0 = rates(jnp.zeros_like(t0), y0)
    finite = jnp.all(jnp.isfinite(y0)) & jnp.all(jnp.isfinite(f0))
    since = jnp.zeros_like(due).at[place].set(due)[:, None]
    start = {
        "s": jnp.zeros_like(length),
        "y": y0,
        "f": f0,
        "h": lax.stop_gradient(first_step(rates, y0, f0, length, rtol, atol, order)),
        "before": jnp.ones_like(length),
        "status": jnp.where(finite, 0, 3).astype(jnp.int32),
        "steps": jnp.zeros((), jnp.int32),
        "saved": jnp.sum((due <= 0).astype(jnp.int32)).astype(jnp.int32),
        # at the start the rate counts for nothing but the derivative by time
        "ys": jnp.where(
            since == 0, y0[None] + since * jnp.where(jnp.isfinite(f0), f0, 0)[None], jnp.nan
        ),
    }
    if record:
        start["record"] = {
            "s": jnp.zeros((max_steps,), y0.dtype),
            "h": jnp.zeros((max_steps,), y0.dtype),
            "y": jnp.zeros((max_steps, *y0.shape), y0.dtype),
            "saved": jnp.zeros((max_steps,), jnp.int32),
            "count": jnp.zeros((), jnp.int32),
        }
    end = lax.while_loop(unfinished, advance, start)
    outside = ~jnp.all((due >= 0) & (due <= length))
    status = jnp.where((end["status"] == 0) & outside, 4, end["status"])
    result = {"ys": end["ys"], "success": status == 0, "status": status, "steps": end["steps"]}
    return (result, {**end["record"], "end": end["saved"]}) if record else (result, None)


def schedule(t0, t1, way, ts):
    """When each state is due, as s in ascending order, and its place in `ts`.

    Times that miss [t0, t1] by rounding alone are moved to its ends.
    """
    due = way * (ts - t0)
    length = lax.stop_gradient(jnp.abs(t1 - t0))
    slack = 16 * jnp.finfo(ts.dtype).eps * jnp.maximum(jnp.abs(t0), jnp.abs(t1))
    due = jnp.where((due < 0) & (due >= -slack), 0, due)
    due = jnp.where((due > length) & (due <= length + slack), length, due)
    place = jnp.argsort(lax.stop_gradient(due))
    return due[place], place


def product(weights, rows):
    """Matrix product in full precision, on every platform."""
    return jnp.matmul(weights, rows, precision="highest")


def rms(values):
    """Root mean square."""
    return jnp.sqrt(jnp.mean(jnp.square(values)))


def scale(rtol, atol, y, y1):
    """The error allowed for each element."""
    tiny = jnp.finfo(y.dtype).tiny
    return atol + rtol * jnp.maximum(jnp.abs(y), jnp.abs(y1)) + tiny


def resize(size, before, finite, accept, order):
    """Factor on the step size, and the error to remember; `size` is that of this step."""
    size = jnp.maximum(jnp.where(finite, size, 1), 1e-10)
    grown = jnp.clip(0.9 * size ** (-0.7 / order) * before ** (0.4 / order), 0.2, 10)
    shrunk = jnp.clip(0.9 * size ** (-1 / order), 0.1, 0.9)
    factor = jnp.where(accept, grown, jnp.where(finite, shrunk, 0.1))
    return factor, jnp.where(accept, jnp.maximum(size, 1e-4), before)


def first_step(rates, y, f, length, rtol, atol, order):
    """Size of the first step: Hairer, Norsett & Wanner (1993), section II.4."""
    allowed = scale(rtol, atol, y, y)
    d0, d1 = rms(y / allowed), rms(f / allowed)
    h0 = jnp.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / jnp.maximum(d1, 1e-5))
    h0 = jnp.minimum(h0, length)
    d2 = rms((rates(h0, y + h0 * f) - f) / allowed) / h0
    largest = jnp.maximum(d1, d2)
    h1 = jnp.where(largest <= 1e-15, jnp.maximum(1e-6, 1e-3 * h0), (0.01 / largest) ** (1 / order))
    h = jnp.minimum(100 * h0, h1)
    return jnp.minimum(jnp.where(jnp.isfinite(h), h, 1e-3 * h0), length)


def trajectory(field, method, max_steps, t0, t1, y0, args, fixed, ts, rtol, atol):
    """`integrate`, with derivatives in reverse mode: each accepted step is retraced backwards."""
    return integrate(field, method, max_steps, t0, t1, y0, args, fixed, ts, rtol, atol)[0]


def forward(field, method, max_steps, t0, t1, y0, args, fixed, ts, rtol, atol):
    """Forward pass of `trajectory`: it records the accepted steps."""
    given = (t0, t1, y0, args, fixed, ts)
    result, record = integrate(field, method, max_steps, *given, rtol, atol, record=True)
    return result, (*given, result, record)


def backward(field, method, max_steps, kept, cotangent):
    """Backward pass of `trajectory`: the exact adjoint of the accepted steps, last to first.

    The derivatives by `ts` and `t0` follow from the equation itself. A solve that failed has no
    derivative: it is not a number.
    """
    t0, t1, y0, args, fixed, ts, result, record = kept
    step, interpolate, _ = method
    way = jnp.where(t1 < t0, -1, 1).astype(y0.dtype)
    due, place = schedule(t0, t1, way, ts)
    g = cotangent["ys"]

    def retrace(s, h, y, args):
        def rates(s, y):
            return way * field(t0 + way * s, y, args, fixed)

        y1, _, _, stages = step(rates, s, y, rates(s, y), h)
        return y1, stages

    def back(c):
        i, end, y_bar, args_bar = c
        s, h, y, first = (record[k][i] for k in ("s", "h", "y", "saved"))
        (y1, stages), pull = jax.vjp(lambda y, args: retrace(s, h, y, args), y, args)

        def collect(c):
            j, direct, bars = c
            theta = (due[j] - s) / h
            _, through = jax.vjp(lambda *v: interpolate(theta, *v[:2], h, v[2]), y, y1, stages)
            y_j, y1_j, stages_j = through(g[place[j]])
            return j + 1, direct + y_j, (bars[0] + y1_j, bars[1] + stages_j)

        none = (first, jnp.zeros_like(y), (y_bar, jnp.zeros_like(stages)))
        _, direct, bars = lax.while_loop(lambda c: c[0] < end, collect, none)
        y_step, args_step = pull(bars)
        return i - 1, first, direct + y_step, jax.tree.map(jnp.add, args_bar, args_step)

    nothing = jnp.zeros_like(y0), jax.tree.map(jnp.zeros_like, args)
    begin = (record["count"] - 1, record["end"], *nothing)
    _, _, y_bar, args_bar = lax.while_loop(lambda c: c[0] >= 0, back, begin)
    at_start = jnp.zeros_like(due, bool).at[place].set(due == 0)
    y_bar = y_bar + jnp.sum(jnp.where(at_start[:, None], g, 0), axis=0)
    rates = jax.vmap(lambda t, y: field(t, y, args, fixed))(ts, result["ys"])
    bars = {
        "t0": -jnp.vdot(y_bar, field(t0, y0, args, fixed)),
        "y0": y_bar,
        "args": args_bar,
        "ts": jnp.sum(g * rates, axis=1),
    }
    bars = jax.tree.map(lambda bar: jnp.where(result["success"], bar, jnp.nan), bars)
    none = jnp.zeros_like(t1)  # the solution depends neither on its end nor on the tolerances
    return bars["t0"], none, bars["y0"], bars["args"], None, bars["ts"], none, none


trajectory = jax.custom_vjp(trajectory, nondiff_argnums=(0, 1, 2))
trajectory.defvjp(forward, backward)
