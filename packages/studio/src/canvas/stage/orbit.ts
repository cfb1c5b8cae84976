/** The position of the relief's camera, on a sphere around the middle of the photo. */
export interface Orbit {
  /** Radians to the right of the photo's middle. */
  readonly yaw: number;
  /** Radians above it. */
  readonly pitch: number;
  /** A multiple of the size at which the whole photo is visible. */
  readonly zoom: number;
}

/** Slightly from the side and above, so that the relief is recognizable. */
export const restingOrbit: Orbit = { yaw: -0.3, pitch: 0.14, zoom: 0.8 };

/** Beyond these angles, only the torn edges of the mesh are visible. */
const limits = { yaw: 1.2, pitch: 0.96, leastZoom: 0.5, mostZoom: 6 };

/** Turns the camera by radians and moves it closer by a factor, within useful limits. */
export const orbited = (
  orbit: Orbit,
  { yaw = 0, pitch = 0, zoom = 1 }: { yaw?: number; pitch?: number; zoom?: number },
): Orbit => ({
  yaw: clamp(orbit.yaw + yaw, -limits.yaw, limits.yaw),
  pitch: clamp(orbit.pitch + pitch, -limits.pitch, limits.pitch),
  zoom: clamp(orbit.zoom * zoom, limits.leastZoom, limits.mostZoom),
});

/** Radians per millisecond. */
export interface Spin {
  readonly yaw: number;
  readonly pitch: number;
}

/** The time in which a spin decays to a third, in milliseconds. */
const fading = 220;

/** The slowest visible speed, in radians per millisecond. */
const still = 0.00003;

/**
 * Lets momentum turn the camera.
 * @param elapsed milliseconds
 * @returns the camera and what is left of the spin; null once it has come to rest
 */
export function coasted(orbit: Orbit, spin: Spin, elapsed: number): { orbit: Orbit; spin: Spin | null } {
  const left = Math.exp(-elapsed / fading);
  // The integral of the decaying speed, which makes the angle independent of the frame rate.
  const way = fading * (1 - left);
  const slower = { yaw: spin.yaw * left, pitch: spin.pitch * left };
  return {
    orbit: orbited(orbit, { yaw: spin.yaw * way, pitch: spin.pitch * way }),
    spin: Math.hypot(slower.yaw, slower.pitch) < still ? null : slower,
  };
}

/** The distance of the camera from the middle of the photo at zoom 1, as a multiple of the visible height. */
export const cameraDistance = 1.6;

/**
 * The camera's matrix, column-major as in WebGL. In the scene, the photo is centred in the plane z = 0, and near things
 * lie towards positive z.
 * @param photo the photo's width and height in the scene
 * @param aspect width by height of the pane
 */
export function cameraMatrix(
  orbit: Orbit,
  photo: { width: number; height: number },
  aspect: number,
): Float32Array {
  // The visible height of the plane z = 0 at zoom 1, so that the whole photo fits.
  const seen = Math.max(photo.height, photo.width / aspect);
  const distance = cameraDistance * seen;
  const focal = 2 * cameraDistance * orbit.zoom;
  const [near, far] = [distance * 0.05, distance * 4];
  const [sy, cy, sp, cp] = [
    Math.sin(orbit.yaw),
    Math.cos(orbit.yaw),
    Math.sin(orbit.pitch),
    Math.cos(orbit.pitch),
  ];
  // Turns the scene against the camera: about y by -yaw, then about x by pitch; then moves it away.
  const rotation = [
    [cy, 0, -sy],
    [-sy * sp, cp, -cy * sp],
    [sy * cp, sp, cy * cp],
  ] as const;
  const depth = (near + far) / (near - far);
  const shift = (2 * near * far) / (near - far);
  const matrix = new Float32Array(16);
  for (let column = 0; column < 3; column++) {
    const [x, y, z] = [rotation[0][column]!, rotation[1][column]!, rotation[2][column]!];
    matrix[4 * column] = (focal / aspect) * x;
    matrix[4 * column + 1] = focal * y;
    matrix[4 * column + 2] = depth * z;
    matrix[4 * column + 3] = -z;
  }
  matrix[14] = depth * -distance + shift;
  matrix[15] = distance;
  return matrix;
}

const clamp = (value: number, min: number, max: number): number => Math.min(Math.max(value, min), max);
