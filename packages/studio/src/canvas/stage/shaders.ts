/*
 * The programs of the stage. Depth textures hold the unchanged field (float32, one channel); levels are applied while
 * drawing, with the formula of `field/levels.ts`.
 */

const version = "#version 300 es\nprecision highp float;\nprecision highp sampler2D;\n";

/** The levels of `field/levels.ts`, and the field at any point of the picture, interpolated as the server resizes. */
const levels = `
uniform sampler2D depth;
uniform float black, white, exponent;
uniform float mirror; // Negative when the map is not inverted.

float grey(float value) {
  float inside = clamp((value - black) / max(white - black, 1e-9), 0.0, 1.0);
  float curved = exponent == 1.0 ? inside : inside <= 0.0 ? 0.0 : pow(inside, exponent);
  return mirror < 0.0 ? curved : mirror - curved;
}

float valueAt(ivec2 pixel) {
  return texelFetch(depth, clamp(pixel, ivec2(0), textureSize(depth, 0) - 1), 0).r;
}

float greyAt(vec2 share) {
  vec2 at = share * vec2(textureSize(depth, 0)) - 0.5;
  ivec2 pixel = ivec2(floor(at));
  vec2 part = at - floor(at);
  return mix(
    mix(grey(valueAt(pixel)), grey(valueAt(pixel + ivec2(1, 0))), part.x),
    mix(grey(valueAt(pixel + ivec2(0, 1))), grey(valueAt(pixel + ivec2(1, 1))), part.x),
    part.y);
}
`;

/** A rectangle of the pane; \`share\` runs over the picture from its upper left corner. */
export const rectangleVertex = `${version}
uniform vec4 place; // x, y, width, height in clip space, y upwards from the lower edge.
out vec2 share;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  share = vec2(corner.x, 1.0 - corner.y);
  gl_Position = vec4(place.xy + corner * place.zw, 0.0, 1.0);
}
`;

export const pictureFragment = `${version}
uniform sampler2D picture;
in vec2 share;
out vec4 colour;
void main() {
  colour = vec4(texture(picture, share).rgb, 1.0);
}
`;

/** The photo, with the areas that its mask keeps dimmed and desaturated. */
export const maskedFragment = `${version}
uniform sampler2D picture;
uniform sampler2D mask;
in vec2 share;
out vec4 colour;

float freeAt(ivec2 pixel) {
  return texelFetch(mask, clamp(pixel, ivec2(0), textureSize(mask, 0) - 1), 0).r;
}

void main() {
  vec2 at = share * vec2(textureSize(mask, 0)) - 0.5;
  ivec2 pixel = ivec2(floor(at));
  vec2 part = at - floor(at);
  float free = mix(
    mix(freeAt(pixel), freeAt(pixel + ivec2(1, 0)), part.x),
    mix(freeAt(pixel + ivec2(0, 1)), freeAt(pixel + ivec2(1, 1)), part.x),
    part.y);
  vec3 photo = texture(picture, share).rgb;
  float grey = dot(photo, vec3(0.299, 0.587, 0.114));
  colour = vec4(mix(vec3(0.1 + 0.3 * grey), photo, free), 1.0);
}
`;

/**
 * The depth map. \`reveal\` runs from 0 to 1 while it replaces the photo, nearest first; \`clipping\` hatches the
 * values that levels clip.
 */
export const depthFragment = `${version}${levels}
uniform sampler2D photo;
uniform float reveal;
uniform float clipping;
uniform vec2 texels; // Pixels of the map for each pixel of the screen.
uniform float pixelRatio;
in vec2 share;
out vec4 colour;

const float softness = 0.18;

// The map resized to the size at which it is shown, as the server resizes: a triangle that widens where the map shrinks.
// Maps many times larger are sampled more coarsely than that.
float resizedAt(vec2 share) {
  // Enlarged, the triangle covers four pixels, which need no loop.
  if (max(texels.x, texels.y) <= 1.0) return greyAt(share);
  ivec2 size = textureSize(depth, 0);
  vec2 center = share * vec2(size);
  vec2 support = max(texels, 1.0);
  ivec2 first = max(ivec2(center - support + 0.5), 0);
  ivec2 end = min(ivec2(center + support + 0.5), size);
  ivec2 stride = max(ivec2(support / 4.0), 1);
  float sum = 0.0, weights = 0.0;
  for (int y = first.y; y < end.y; y += stride.y)
    for (int x = first.x; x < end.x; x += stride.x) {
      vec2 near = max(1.0 - abs(vec2(x, y) + 0.5 - center) / support, 0.0);
      float weight = near.x * near.y;
      if (weight == 0.0) continue;
      sum += weight * grey(valueAt(ivec2(x, y)));
      weights += weight;
    }
  return sum / weights;
}

void main() {
  float shown = resizedAt(share);
  colour = vec4(vec3(shown), 1.0);
  if (reveal < 1.0) {
    float front = 1.0 - reveal * (1.0 + softness);
    colour.rgb = mix(texture(photo, share).rgb, colour.rgb, smoothstep(front, front + softness, shown));
  }
  if (clipping > 0.0) {
    float value = valueAt(ivec2(share * vec2(textureSize(depth, 0))));
    bool nearer = value > white, farther = value < black;
    float line = step(0.6, fract((gl_FragCoord.x + gl_FragCoord.y * (nearer ? 1.0 : -1.0)) / (7.0 * pixelRatio)));
    vec3 tint = shown > 0.5 ? vec3(0.72, 0.42, 0.05) : vec3(0.95, 0.66, 0.24);
    if (nearer || farther) colour.rgb = mix(colour.rgb, tint, line * clipping * 0.75);
  }
}
`;

/**
 * Depth for the relief, one pixel for each corner of its mesh: 16 bits in red and green. Soft outlines become sharp:
 * where the neighbourhood jumps, the value becomes the mean of the closer side, so that cuts leave no ramps.
 */
export const cornersFragment = `${version}${levels}
uniform ivec2 corners;
uniform float jump;
out vec4 colour;
void main() {
  vec2 cells = vec2(corners - 1);
  vec2 corner = floor(gl_FragCoord.xy);
  float own = greyAt(corner / cells);
  float low = own, high = own;
  float around[9];
  for (int i = 0; i < 9; i++) {
    vec2 share = (corner + 2.0 * (vec2(i % 3, i / 3) - 1.0)) / cells;
    around[i] = grey(valueAt(ivec2(share * vec2(textureSize(depth, 0)))));
    low = min(low, around[i]);
    high = max(high, around[i]);
  }
  if (high - low > jump) {
    float middle = (low + high) / 2.0;
    bool nearer = own > middle;
    float sum = 0.0, count = 0.0;
    for (int i = 0; i < 9; i++)
      if ((around[i] > middle) == nearer) {
        sum += around[i];
        count += 1.0;
      }
    if (count > 0.0) own = sum / count;
  }
  float whole = floor(clamp(own, 0.0, 1.0) * 65535.0 + 0.5);
  colour = vec4(floor(whole / 256.0) / 255.0, mod(whole, 256.0) / 255.0, 0.0, 1.0);
}
`;

/**
 * The relief: two triangles per mesh cell, computed from the vertex number alone. A cell with a depth jump is drawn by
 * two instances: once at its far depth, continuing behind the foreground, and once at its near depth, where the
 * fragment shader keeps only pixels that the map says are near. So outlines are as fine as the map, no surface spans
 * near and far, and the front view has no holes.
 */
export const reliefVertex = `${version}
uniform sampler2D heights; // Written by the program above.
uniform ivec2 corners;
uniform mat4 camera;
uniform vec2 photoSize;
uniform float thickness, distance, jump;
uniform bool clay;
out vec2 share;
out vec3 normal;
flat out int side; // 0 for a cell without a jump, 1 for the far side of one with a jump, 2 for its near side.
flat out float middle; // Between near and far.
flat out vec2 farShare; // A point of the far surface.

const ivec2 order[6] = ivec2[6](
  ivec2(0, 0), ivec2(0, 1), ivec2(1, 0), ivec2(1, 0), ivec2(0, 1), ivec2(1, 1));

float heightAt(ivec2 corner) {
  vec2 bytes = texelFetch(heights, clamp(corner, ivec2(0), corners - 1), 0).rg * 255.0 + 0.5;
  return (floor(bytes.x) * 256.0 + floor(bytes.y)) / 65535.0;
}

// A cut has no slope, so the light does not change across it.
float rise(ivec2 from, ivec2 to) {
  float difference = heightAt(to) - heightAt(from);
  return abs(difference) > jump ? 0.0 : difference * thickness;
}

vec3 normalAt(ivec2 corner) {
  float dx = rise(corner - ivec2(1, 0), corner) + rise(corner, corner + ivec2(1, 0));
  float dy = rise(corner - ivec2(0, 1), corner) + rise(corner, corner + ivec2(0, 1));
  vec2 step = 2.0 * photoSize / vec2(corners - 1);
  return normalize(vec3(-dx / step.x, dy / step.y, 1.0));
}

void main() {
  int cell = gl_VertexID / 6;
  ivec2 first = ivec2(cell % (corners.x - 1), cell / (corners.x - 1));
  ivec2 corner = first + order[gl_VertexID % 6];
  float a = heightAt(first), b = heightAt(first + ivec2(1, 0));
  float c = heightAt(first + ivec2(0, 1)), d = heightAt(first + ivec2(1, 1));
  float low = min(min(a, b), min(c, d)), high = max(max(a, b), max(c, d));
  side = high - low > jump ? 1 + gl_InstanceID : 0;
  middle = (low + high) / 2.0;
  if (side == 0 && gl_InstanceID == 1) {
    // Without a second side, all corners meet in one point, and the triangle vanishes.
    gl_Position = vec4(0.0, 0.0, 0.0, 1.0);
    return;
  }
  ivec2 lowest = a == low ? ivec2(0, 0) : b == low ? ivec2(1, 0) : c == low ? ivec2(0, 1) : ivec2(1, 1);
  farShare = vec2(first + lowest + (lowest * 2 - 1)) / vec2(corners - 1);
  share = vec2(corner) / vec2(corners - 1);
  float own = heightAt(corner);
  if (side == 1 && own > middle) own = low;
  if (side == 2 && own < middle) own = high;
  float z = (own - 0.5) * thickness;
  // Towards the eye rather than straight out: seen from the front, every point stays on its pixel.
  vec2 plane = (share - 0.5) * vec2(photoSize.x, -photoSize.y);
  gl_Position = camera * vec4(plane * (distance - z) / distance, z, 1.0);
  normal = clay ? normalAt(corner) : vec3(0.0, 0.0, 1.0);
}
`;

/** Draws the relief: textured with the photo, or, without one, as clay in daylight. */
export const reliefFragment = `${version}${levels}
uniform sampler2D photo;
uniform bool clay;
in vec2 share;
in vec3 normal;
flat in int side;
flat in float middle;
flat in vec2 farShare;
out vec4 colour;
const vec3 light = vec3(-0.42, 0.56, 0.71);
void main() {
  // Outside the branch, because the choice of a mipmap needs the neighbouring pixels.
  vec3 own = texture(photo, share).rgb;
  if (side > 0) {
    bool nearer = greyAt(share) > middle;
    if (side == 2 && !nearer) discard;
    // Under what is in front, the far surface goes on in its own colour.
    if (side == 1 && nearer) own = textureLod(photo, farShare, 0.0).rgb;
  }
  float lit = 0.35 + 0.65 * max(dot(normalize(normal), light), 0.0);
  colour = vec4(clay ? vec3(0.83, 0.79, 0.74) * lit : own, 1.0);
}
`;
