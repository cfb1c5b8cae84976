"""Procedural scenes with exact depth, seen under appearances that a caption names.

A scene is geometry only (its depth map says all of it); an appearance is colours,
ground, sky, light and material, and is said by the caption. So a model trained on
these pairs must take structure from the depth map and looks from the prompt.
"""

import numpy as np

COLORS = {
    "red": (0.80, 0.10, 0.08),
    "orange": (0.92, 0.45, 0.06),
    "yellow": (0.93, 0.80, 0.12),
    "green": (0.12, 0.55, 0.16),
    "teal": (0.05, 0.55, 0.55),
    "blue": (0.10, 0.22, 0.78),
    "purple": (0.45, 0.14, 0.62),
    "pink": (0.94, 0.48, 0.65),
    "white": (0.92, 0.92, 0.92),
    "black": (0.06, 0.06, 0.07),
    "gold": (0.95, 0.70, 0.20),
    "silver": (0.75, 0.77, 0.80),
    "brown": (0.42, 0.25, 0.12),
    "gray": (0.45, 0.45, 0.47),
}
GROUNDS = ["wooden floor", "grass", "sand", "snow", "checkered floor", "stone floor"]
SKIES = ["blue sky", "sunset", "night sky", "overcast sky", "studio backdrop"]
LIGHTS = {"left": (-0.75, 0.75, -0.45), "right": (0.75, 0.75, -0.45), "above": (0.05, 1.0, -0.25)}
MATERIALS = ["matte", "glossy", "metallic"]


def norm(v, axis=-1):
    return v / np.maximum(np.linalg.norm(v, axis=axis, keepdims=True), 1e-9)


# ---------------------------------------------------------------- intersections
def hit_sphere(o, d, c, r, scale=(1, 1, 1)):
    s = np.asarray(scale, np.float32)
    oc = (o - c) / s
    dd = d / s
    a = (dd * dd).sum(-1)
    b = (oc * dd).sum(-1)
    q = (oc * oc).sum(-1) - r * r
    disc = b * b - a * q
    ok = disc > 0
    sq = np.sqrt(np.where(ok, disc, 0))
    t = (-b - sq) / a
    t = np.where(t > 1e-3, t, (-b + sq) / a)
    t = np.where(ok & (t > 1e-3), t, np.inf)
    p = oc + dd * np.where(np.isfinite(t), t, 0)[..., None]
    return t, norm(p / s)


def rot_y(v, a):
    ca, sa = np.cos(a), np.sin(a)
    return np.stack([ca * v[..., 0] + sa * v[..., 2], v[..., 1], -sa * v[..., 0] + ca * v[..., 2]], -1)


def hit_box(o, d, c, h, yaw):
    oo, dd = rot_y(o - c, -yaw), rot_y(d, -yaw)
    dd = np.where(np.abs(dd) < 1e-6, 1e-6, dd)
    t1, t2 = (-h - oo) / dd, (h - oo) / dd
    lo, hi = np.minimum(t1, t2), np.maximum(t1, t2)
    tn, tf = lo.max(-1), hi.min(-1)
    t = np.where((tn < tf) & (tn > 1e-3), tn, np.inf)
    ax = lo.argmax(-1)
    n = np.zeros(o.shape if o.ndim == d.ndim else d.shape, np.float32)
    np.put_along_axis(n, ax[..., None], -np.sign(np.take_along_axis(dd, ax[..., None], -1)).astype(np.float32), -1)
    return t, rot_y(n, yaw)


def hit_cylinder(o, d, c, r, h):
    oc = o - c
    a = d[..., 0] ** 2 + d[..., 2] ** 2 + 1e-12
    b = oc[..., 0] * d[..., 0] + oc[..., 2] * d[..., 2]
    q = oc[..., 0] ** 2 + oc[..., 2] ** 2 - r * r
    disc = b * b - a * q
    ok = disc > 0
    ts = (-b - np.sqrt(np.where(ok, disc, 0))) / a
    y = oc[..., 1] + ts * d[..., 1]
    ts = np.where(ok & (ts > 1e-3) & (np.abs(y) < h), ts, np.inf)
    tc = (h - oc[..., 1]) / np.where(np.abs(d[..., 1]) < 1e-6, 1e-6, d[..., 1])
    x, z = oc[..., 0] + tc * d[..., 0], oc[..., 2] + tc * d[..., 2]
    tc = np.where((tc > 1e-3) & (x * x + z * z < r * r), tc, np.inf)
    t = np.minimum(ts, tc)
    tt = np.where(np.isfinite(t), t, 0)[..., None]
    p = oc + d * tt
    n = np.where(
        (tc < ts)[..., None],
        np.array([0, 1, 0], np.float32),
        norm(np.stack([p[..., 0], np.zeros_like(p[..., 0]), p[..., 2]], -1)),
    )
    return t, n


def hit_cone(o, d, c, r, h):
    """Apex up; base radius r on y = c_y - h/2, height h."""
    apex = c + np.array([0, h / 2, 0], np.float32)
    oc = o - apex
    k = (r / h) ** 2
    a = d[..., 0] ** 2 + d[..., 2] ** 2 - k * d[..., 1] ** 2
    a = np.where(np.abs(a) < 1e-7, 1e-7, a)
    b = oc[..., 0] * d[..., 0] + oc[..., 2] * d[..., 2] - k * oc[..., 1] * d[..., 1]
    q = oc[..., 0] ** 2 + oc[..., 2] ** 2 - k * oc[..., 1] ** 2
    disc = b * b - a * q
    sq = np.sqrt(np.where(disc > 0, disc, 0))
    best = np.full(d.shape[:-1], np.inf, np.float32)
    for s in (-1, 1):
        t = (-b + s * sq) / a
        y = oc[..., 1] + t * d[..., 1]
        t = np.where((disc > 0) & (t > 1e-3) & (y < 0) & (y > -h), t, np.inf)
        best = np.minimum(best, t)
    p = oc + d * np.where(np.isfinite(best), best, 0)[..., None]
    n = norm(np.stack([p[..., 0], -k * p[..., 1], p[..., 2]], -1))
    return best, n


def hit(prim, o, d):
    kind = prim[0]
    return {"sphere": hit_sphere, "box": hit_box, "cylinder": hit_cylinder, "cone": hit_cone}[kind](o, d, *prim[1:])


# ---------------------------------------------------------------- noise
def value_noise(rng, n, octaves):
    out = np.zeros((n, n), np.float32)
    amp, tot = 1.0, 0.0
    for o in octaves:
        g = rng.random((o + 1, o + 1)).astype(np.float32)
        x = np.linspace(0, o, n, endpoint=False)
        i = x.astype(int)
        f = x - i
        f = f * f * (3 - 2 * f)
        a = g[np.ix_(i, i)]
        b = g[np.ix_(i, i + 1)]
        c = g[np.ix_(i + 1, i)]
        e = g[np.ix_(i + 1, i + 1)]
        fx, fy = f[None, :], f[:, None]
        out += amp * ((a * (1 - fx) + b * fx) * (1 - fy) + (c * (1 - fx) + e * fx) * fy)
        tot += amp
        amp *= 0.5
    return out / tot


_NOISE = value_noise(np.random.default_rng(7), 512, (16, 32, 64, 128))


def tex(u, v, s):
    return _NOISE[(np.floor(v * s * 64).astype(int)) % 512, (np.floor(u * s * 64).astype(int)) % 512]


# ---------------------------------------------------------------- scenes
class Scene:
    """Geometry buffers of one view: depth, normal, position, id (0 sky, 1 ground, 2 wall, 3+ objects)."""

    def __init__(self, rng, size=256):
        self.kind = rng.choice(["table", "bust", "sculpture", "terrain", "room"], p=[0.46, 0.14, 0.14, 0.14, 0.12])
        self.size = size
        fov = np.deg2rad(rng.uniform(38, 58))
        eye = np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.6, 2.2), -rng.uniform(3.3, 4.8)], np.float32)
        at = np.array([rng.uniform(-0.25, 0.25), rng.uniform(0.35, 0.8), 0], np.float32)
        if self.kind == "terrain":
            eye[1] = rng.uniform(1.7, 2.6)
            at[1] = rng.uniform(0.6, 1.2)
        if self.kind == "bust":
            eye = np.array([rng.uniform(-0.5, 0.5), rng.uniform(1.0, 1.6), -rng.uniform(3.4, 4.2)], np.float32)
            at = np.array([0, rng.uniform(0.95, 1.15), 0], np.float32)
        f = norm(at - eye)
        r = norm(np.cross(np.array([0, 1, 0.0]), f))
        u = np.cross(f, r)
        g = (np.arange(size) + 0.5) / size * 2 - 1
        px, py = np.meshgrid(g * np.tan(fov / 2), -g * np.tan(fov / 2))
        d = norm((px[..., None] * r + py[..., None] * u + f)).astype(np.float32)
        self.o, self.d, self.fwd = eye, d, f
        self.names, self.prims = [], []
        self.wall_z = None
        self.height = None
        getattr(self, "_" + self.kind)(rng)
        self._trace()

    # -- builders
    def _table(self, rng):
        n = rng.choice([1, 2, 3, 4], p=[0.25, 0.35, 0.25, 0.15])
        placed = []
        for _ in range(40):
            if len(placed) == n:
                break
            s = rng.uniform(0.35, 0.75) * (1.25 if n == 1 else 1.0)
            x, z = rng.uniform(-1.5, 1.5), rng.uniform(-1.3, 1.6)
            if n == 1:
                x, z = x * 0.4, z * 0.4
            if all((x - a) ** 2 + (z - b) ** 2 > (s + c) ** 2 * 0.9 for a, b, c in placed):
                placed.append((x, z, s))
                k = rng.choice(["sphere", "cube", "cylinder", "cone"])
                if k == "sphere":
                    self.prims.append(("sphere", np.array([x, s, z], np.float32), s))
                elif k == "cube":
                    h = s * 0.82
                    hy = h * rng.uniform(0.6, 1.5)
                    self.prims.append(
                        (
                            "box",
                            np.array([x, hy, z], np.float32),
                            np.array([h, hy, h], np.float32),
                            rng.uniform(0, np.pi),
                        )
                    )
                elif k == "cylinder":
                    h = s * rng.uniform(0.7, 1.6)
                    self.prims.append(("cylinder", np.array([x, h, z], np.float32), s * 0.75, h))
                else:
                    h = s * rng.uniform(1.6, 2.8)
                    self.prims.append(("cone", np.array([x, h / 2, z], np.float32), s * 0.9, h))
                self.names.append(str(k))
        if rng.random() < 0.35:
            self.wall_z = rng.uniform(2.2, 4.0)

    def _bust(self, rng):
        y = rng.uniform(1.15, 1.35)
        w = rng.uniform(0.36, 0.46)
        lean = rng.uniform(-0.12, 0.12)
        self.prims += [
            ("sphere", np.array([lean, y, -0.02], np.float32), 1.0, (w, w * rng.uniform(1.2, 1.4), w * 1.05)),
            ("cylinder", np.array([lean * 0.5, y - 0.62, 0.03], np.float32), w * 0.42, 0.3),
            ("sphere", np.array([0, y - 1.05, 0.08], np.float32), 1.0, (rng.uniform(0.78, 1.05), 0.42, 0.5)),
            (
                "sphere",
                np.array([lean + rng.uniform(-0.05, 0.05), y - 0.05, -w * 1.05], np.float32),
                1.0,
                (0.07, 0.12, 0.1),
            ),
        ]
        if rng.random() < 0.6:
            self.prims.append(
                ("sphere", np.array([lean, y + w * 0.45, 0.1], np.float32), 1.0, (w * 1.08, w * 1.0, w * 1.05))
            )
        self.names = ["portrait"]
        self.wall_z = rng.uniform(1.2, 3.0) if rng.random() < 0.7 else None

    def _sculpture(self, rng):
        self.prims.append(
            ("box", np.array([0, 0.22, 0], np.float32), np.array([0.6, 0.22, 0.6], np.float32), rng.uniform(0, 1.5))
        )
        c = np.array([0, 0.8, 0], np.float32)
        for _ in range(rng.integers(3, 8)):
            r = rng.uniform(0.18, 0.45)
            self.prims.append(("sphere", c.copy(), r))
            c = c + norm(rng.normal(size=3)) * r * 1.05
            c[1] = max(c[1], 0.6)
            c[0] = np.clip(c[0], -0.9, 0.9)
        self.names = ["sculpture"]
        self.wall_z = rng.uniform(1.6, 3.5) if rng.random() < 0.5 else None

    def _room(self, rng):
        self._table(rng)
        self.wall_z = rng.uniform(2.0, 3.4)
        w = rng.uniform(2.0, 2.9)
        for s in (-1, 1):
            self.prims.append(
                ("box", np.array([s * (w + 0.5), 1.5, 0], np.float32), np.array([0.5, 6, 6], np.float32), 0.0)
            )
        self.room_walls = 2

    def _terrain(self, rng):
        n = value_noise(rng, 256, (3, 6, 12, 24, 48))
        n = (n - n.min()) / (n.max() - n.min())
        zz = np.linspace(0, 1, 256)[:, None]
        ridge = rng.uniform(1.6, 2.8)
        self.height = (n**1.5 * (0.25 + ridge * np.clip(zz * 1.3 - 0.15, 0, 1))).astype(np.float32)
        self.names = ["mountains"]

    # -- tracing
    def _h(self, x, z):
        u = np.clip((x + 7) / 14 * 255, 0, 254.99)
        v = np.clip((z + 5) / 14 * 255, 0, 254.99)
        i, j = v.astype(int), u.astype(int)
        fv, fu = v - i, u - j
        H = self.height
        return (H[i, j] * (1 - fu) + H[i, j + 1] * fu) * (1 - fv) + (H[i + 1, j] * (1 - fu) + H[i + 1, j + 1] * fu) * fv

    def _trace(self):
        o, d, S = self.o, self.d, self.size
        t = np.full((S, S), np.inf, np.float32)
        n = np.zeros((S, S, 3), np.float32)
        ids = np.zeros((S, S), np.int32)

        def put(tt, nn, i):
            m = tt < t
            t[m] = tt[m]
            n[m] = nn[m]
            ids[m] = i

        if self.height is None:
            tp = np.where(d[..., 1] < -1e-4, -o[1] / np.minimum(d[..., 1], -1e-4), np.inf).astype(np.float32)
            tp = np.where(tp < 30, tp, np.inf)
            put(tp, np.broadcast_to(np.array([0, 1, 0], np.float32), n.shape), 1)
            if self.wall_z is not None:
                tw = np.where(d[..., 2] > 1e-4, (self.wall_z - o[2]) / np.maximum(d[..., 2], 1e-4), np.inf).astype(
                    np.float32
                )
                put(tw, np.broadcast_to(np.array([0, 0, -1], np.float32), n.shape), 2)
            k = len(self.prims) - getattr(self, "room_walls", 0)
            for i, p in enumerate(self.prims):
                tt, nn = hit(p, o, d)
                put(tt.astype(np.float32), nn.astype(np.float32), 2 if i >= k else 3 + i)
        else:
            ts = 1.5 * (1.035 ** np.arange(66))
            prev_t = np.full((S, S), ts[0], np.float32)
            prev_g = np.ones((S, S), np.float32)
            done = np.zeros((S, S), bool)
            for s in ts:
                p = o + d * s
                inside = p[..., 2] < 8.8
                g = np.where(inside, p[..., 1] - self._h(p[..., 0], p[..., 2]), 1.0)
                new = (~done) & (g < 0)
                w = prev_g / np.maximum(prev_g - g, 1e-6)
                t = np.where(new, prev_t + (s - prev_t) * w, t)
                done |= new
                prev_t = np.full((S, S), s, np.float32)
                prev_g = np.maximum(g, 0)
            p = o + d * np.where(np.isfinite(t), t, 0)[..., None]
            e = 0.06
            hx = self._h(p[..., 0] + e, p[..., 2]) - self._h(p[..., 0] - e, p[..., 2])
            hz = self._h(p[..., 0], p[..., 2] + e) - self._h(p[..., 0], p[..., 2] - e)
            n = norm(np.stack([-hx, np.full_like(hx, 2 * e), -hz], -1)).astype(np.float32)
            ids = np.where(np.isfinite(t), 1, 0)
            t = t.astype(np.float32)
        self.t, self.n, self.ids = t, n, ids
        self.p = o + d * np.where(np.isfinite(t), t, 0)[..., None]
        z = t * (d @ self.fwd)
        self.z = z

    def depth_map(self):
        """uint8, near is white: inverse depth, min-max normalized."""
        inv = np.where(np.isfinite(self.z), 1.0 / np.maximum(self.z, 0.1), 0.0)
        lo, hi = inv.min(), inv.max()
        return np.round((inv - lo) / max(hi - lo, 1e-6) * 255).astype(np.uint8)

    def shadow(self, light):
        l = norm(np.array(light, np.float32))
        m = self.ids > 0
        out = np.ones(self.t.shape, np.float32)
        if self.height is not None:
            p = self.p[m] + self.n[m] * 0.02
            lit = np.ones(p.shape[0], np.float32)
            for s in np.linspace(0.1, 2.5, 14):
                q = p + l * s
                lit = np.where(q[..., 1] < self._h(q[..., 0], q[..., 2]), 0.0, lit)
            out[m] = lit
            return out
        o = (self.p + self.n * 0.01)[m]
        dd = np.broadcast_to(l, o.shape).astype(np.float32)
        lit = np.ones(o.shape[0], np.float32)
        k = len(self.prims) - getattr(self, "room_walls", 0)
        for p in self.prims[:k]:
            tt, _ = hit(p, o, dd)
            lit = np.where(np.isfinite(tt), 0.0, lit)
        out[m] = lit
        return out


# ---------------------------------------------------------------- appearance
def sky_color(name, y):
    y = np.clip(y, -0.1, 1)[..., None]

    def g(a, b, p=0.6):
        return np.asarray(a) * (1 - np.clip(y, 0, 1) ** p) + np.asarray(b) * np.clip(y, 0, 1) ** p

    if name == "blue sky":
        return g((0.75, 0.87, 0.97), (0.16, 0.42, 0.85))
    if name == "sunset":
        return g((0.99, 0.62, 0.25), (0.42, 0.20, 0.45), 0.5)
    if name == "night sky":
        return g((0.10, 0.12, 0.25), (0.01, 0.02, 0.07))
    if name == "overcast sky":
        return g((0.80, 0.81, 0.83), (0.55, 0.57, 0.60))
    return g((0.88, 0.87, 0.86), (0.70, 0.69, 0.68))


SKY_LIGHT = {
    "blue sky": ((1.0, 0.97, 0.9), 0.85, (0.55, 0.65, 0.8), 0.42),
    "sunset": ((1.0, 0.62, 0.32), 0.95, (0.55, 0.40, 0.55), 0.38),
    "night sky": ((0.60, 0.72, 1.0), 0.62, (0.22, 0.27, 0.48), 0.50),
    "overcast sky": ((0.9, 0.92, 0.95), 0.35, (0.75, 0.77, 0.8), 0.62),
    "studio backdrop": ((1.0, 0.99, 0.97), 0.75, (0.8, 0.8, 0.8), 0.42),
}


def ground_albedo(name, p):
    u, v = p[..., 0], p[..., 2]
    if name == "wooden floor":
        plank = np.floor(u * 1.6)
        g = 0.75 + 0.25 * tex(u * 0.3, v * 2.0, 0.5) + 0.12 * ((plank * 0.37) % 1)
        seam = np.abs((u * 1.6) % 1 - 0.5) > 0.47
        return np.array((0.62, 0.38, 0.18)) * (g * np.where(seam, 0.55, 1))[..., None]
    if name == "grass":
        return np.array((0.16, 0.42, 0.10)) * (0.55 + 0.9 * tex(u, v, 1.2))[..., None]
    if name == "sand":
        return np.array((0.86, 0.70, 0.44)) * (0.85 + 0.25 * tex(u, v, 0.6))[..., None]
    if name == "snow":
        return np.array((0.93, 0.95, 0.99)) * (0.93 + 0.1 * tex(u, v, 0.4))[..., None]
    if name == "checkered floor":
        c = (np.floor(u * 1.25) + np.floor(v * 1.25)) % 2
        return np.where(c[..., None] > 0, np.array((0.90, 0.90, 0.88)), np.array((0.10, 0.10, 0.12)))
    return np.array((0.48, 0.47, 0.46)) * (0.65 + 0.6 * tex(u, v, 0.5))[..., None]


class Appearance:
    def __init__(self, rng, scene):
        self.sky = str(rng.choice(SKIES))
        self.light = str(rng.choice(list(LIGHTS)))
        self.ground = str(rng.choice(["grass", "sand", "snow", "stone floor"] if scene.kind == "terrain" else GROUNDS))
        self.material = str(rng.choice(MATERIALS, p=[0.5, 0.3, 0.2]))
        names = list(COLORS)
        k = max(1, len(scene.names)) if scene.kind in ("table", "room") else 1
        same = rng.random() < 0.4
        first = str(rng.choice(names))
        self.colors = [first if same else str(rng.choice(names)) for _ in range(k)]
        self.wall = str(rng.choice(names + ["white", "gray", "white", "gray"]))
        self.cinematic = rng.random() < 0.25
        self.detailed = rng.random() < 0.25
        if self.cinematic and rng.random() < 0.5:
            self.light = "left" if rng.random() < 0.5 else "right"

    def caption(self, rng, scene):
        s = scene
        mat = "" if self.material == "matte" and rng.random() < 0.6 else self.material + " "
        if s.kind in ("table", "room"):
            if len(set(self.colors)) == 1 and len(self.colors) > 1 and rng.random() < 0.7:
                things = f"{mat}{self.colors[0]} shapes"
            else:
                parts = [f"a {mat}{c} {n}" for c, n in zip(self.colors, s.names)]
                things = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        elif s.kind == "bust":
            things = rng.choice(
                [
                    f"a portrait in {mat}{self.colors[0]}",
                    f"a {mat}{self.colors[0]} portrait",
                    f"a {mat}{self.colors[0]} statue of a person",
                    f"portrait bust, {mat}{self.colors[0]}",
                ]
            )
        elif s.kind == "sculpture":
            things = rng.choice(
                [f"a {mat}{self.colors[0]} sculpture", f"an abstract sculpture in {mat}{self.colors[0]}"]
            )
        else:
            things = rng.choice(["mountains", "a mountain landscape", "rocky hills", "a valley"])
        bits = [str(things)]
        g = self.ground
        if s.kind == "terrain":
            bits.append(
                rng.choice([f"covered in {g}" if g in ("grass", "sand", "snow") else f"of {g.replace(' floor', '')}"])
            )
        elif s.kind != "bust":
            bits.append(
                rng.choice(
                    [
                        f"on {g}" if g in ("grass", "sand", "snow") else f"on a {g}",
                        f"{g} ground" if g in ("grass", "sand", "snow") else g,
                    ]
                )
            )
        if s.wall_z is not None:
            bits.append(rng.choice([f"{self.wall} wall", f"in front of a {self.wall} wall", f"{self.wall} background"]))
        bits.append(
            {
                "blue sky": rng.choice(["under a blue sky", "clear blue sky", "daylight"]),
                "sunset": rng.choice(["at sunset", "sunset light", "golden hour"]),
                "night sky": rng.choice(["at night", "night", "moonlight"]),
                "overcast sky": rng.choice(["overcast", "under an overcast sky", "soft light"]),
                "studio backdrop": rng.choice(["studio", "in a studio", "studio lighting"]),
            }[self.sky]
        )
        if rng.random() < 0.7:
            bits.append(f"light from {'the ' if self.light != 'above' else ''}{self.light}")
        head, rest = bits[0], bits[1:]
        rng.shuffle(rest)
        keep = [b for b in rest if rng.random() < 0.9]
        out = ", ".join([head] + [str(b) for b in keep])
        if self.cinematic:
            out = "cinematic " + out if rng.random() < 0.5 else out + ", cinematic"
        if self.detailed:
            out = "highly detailed " + out if rng.random() < 0.5 else out + ", highly detailed"
        return str(out)

    def paint(self, s):
        lc, li, ac, ai = SKY_LIGHT[self.sky]
        l = norm(np.array(LIGHTS[self.light], np.float32))
        sh = s.shadow(LIGHTS[self.light])
        alb = np.zeros((*s.t.shape, 3))
        ground = ground_albedo(self.ground, s.p)
        alb[s.ids == 1] = ground[s.ids == 1]
        w = np.array(COLORS[self.wall]) * 0.6 + 0.32
        alb[s.ids == 2] = w
        for i in range(len(s.prims)):
            c = self.colors[min(i, len(self.colors) - 1)]
            if s.kind == "sculpture" and i == 0:
                alb[s.ids == 3] = np.array((0.5, 0.5, 0.5))
                continue
            alb[s.ids == 3 + i] = COLORS[c]
        obj = s.ids >= 3
        if self.detailed:
            k = 0.72 + 0.56 * tex(s.p[..., 0] + s.p[..., 1] * 0.37, s.p[..., 2] + s.p[..., 1], 1.0)
            alb = alb * k[..., None]
        if s.kind == "terrain" and self.ground == "grass":
            rock = s.n[..., 1] < 0.72
            alb[rock & (s.ids == 1)] = (0.36, 0.33, 0.30)
        ndl = np.clip((s.n * l).sum(-1), 0, 1) * sh
        hemi = 0.65 + 0.35 * s.n[..., 1]
        if self.cinematic:
            lc = np.array(lc) * np.array((1.1, 0.95, 0.75))
            li *= 1.15
            ac = np.array(ac) * np.array((0.6, 0.85, 1.1))
            ai *= 0.6
        col = alb * (np.array(ac) * ai * hemi[..., None] + np.array(lc) * li * ndl[..., None])
        v = -s.d
        h = norm(v + l)
        r = s.d - 2 * (s.d * s.n).sum(-1, keepdims=True) * s.n
        if self.material != "matte":
            spec = np.clip((s.n * h).sum(-1), 0, 1) ** (60 if self.material == "glossy" else 24) * sh
            env = sky_color(self.sky, r[..., 1] * 0.8 + 0.1) * np.where(r[..., 1:2] < 0, 0.45, 1.0)
            fres = 0.06 + 0.5 * (1 - np.clip((s.n * v).sum(-1), 0, 1)) ** 4
            if self.material == "glossy":
                add = 0.9 * spec[..., None] * np.array(lc) * li + env * fres[..., None]
                col = np.where(obj[..., None], col * 0.92 + add, col)
            else:
                m = (
                    alb * (0.75 * env + 0.25 * np.array(lc) * ndl[..., None])
                    + alb * spec[..., None] * 1.2 * np.array(lc) * li
                )
                col = np.where(obj[..., None], m, col)
        sky = sky_color(self.sky, s.d[..., 1] * 1.6)
        if self.sky == "night sky":
            stars = (tex(s.d[..., 0] * 3, s.d[..., 1] * 3, 2.0) > 0.80)[..., None]
            sky = np.where(stars, 0.75, sky)
        fog = 1 - np.exp(
            -np.maximum(np.where(np.isfinite(s.z), s.z, 0) - 5, 0) * (0.09 if s.kind == "terrain" else 0.05)
        )
        hor = sky_color(self.sky, np.full(s.t.shape, 0.03))
        col = col * (1 - fog[..., None]) + hor * fog[..., None]
        col = np.where((s.ids == 0)[..., None], sky, col)
        return np.round(np.clip(col, 0, 1) ** (1 / 1.25) * 255).astype(np.uint8)


def sample(seed, views=1, size=256):
    rng = np.random.default_rng(seed)
    s = Scene(rng, size)
    out = []
    for _ in range(views):
        a = Appearance(rng, s)
        out.append((a.paint(s), a.caption(rng, s)))
    return s.depth_map(), out


if __name__ == "__main__":
    import sys
    import time
    from PIL import Image

    t0 = time.time()
    rows = []
    for seed in range(24):
        d, vs = sample(seed, 2)
        rows.append(np.concatenate([np.repeat(d[..., None], 3, -1)] + [v[0] for v in vs], 1))
        if seed < 24:
            print(seed, [v[1] for v in vs])
    print((time.time() - t0) / 24, "s per scene")
    grid = np.concatenate([np.concatenate(rows[i::3], 0) for i in range(3)], 1)
    Image.fromarray(grid).resize((grid.shape[1] // 2, grid.shape[0] // 2)).save(sys.argv[1])
