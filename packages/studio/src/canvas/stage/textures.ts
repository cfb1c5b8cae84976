import type { DepthField } from "../field/depth-field.js";
import type { Rectangle } from "../field/rectangle.js";

/** A picture on the GPU, with mipmaps for showing it small. */
export class PictureTexture {
  readonly width: number;
  readonly height: number;
  readonly #gl: WebGL2RenderingContext;
  readonly #texture: WebGLTexture;

  constructor(gl: WebGL2RenderingContext, picture: ImageBitmap) {
    this.#gl = gl;
    [this.width, this.height] = [picture.width, picture.height];
    this.#texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.#texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  /** @param pixelated whether enlarged pixels keep their edges */
  bind(unit: number, { pixelated }: { pixelated: boolean }): void {
    const gl = this.#gl;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, this.#texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, pixelated ? gl.NEAREST : gl.LINEAR);
  }

  dispose(): void {
    this.#gl.deleteTexture(this.#texture);
  }
}

/** A depth field on the GPU: float32, read texel by texel, because few GPUs filter floats. */
export class FieldTexture {
  readonly #gl: WebGL2RenderingContext;
  readonly #texture: WebGLTexture;

  constructor(gl: WebGL2RenderingContext, { width, height, values }: DepthField) {
    this.#gl = gl;
    this.#texture = unfiltered(gl);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, width, height, 0, gl.RED, gl.FLOAT, values);
  }

  /** Uploads the values of a region. */
  update({ values, width }: DepthField, region: Rectangle): void {
    const gl = this.#gl;
    gl.bindTexture(gl.TEXTURE_2D, this.#texture);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, width);
    gl.pixelStorei(gl.UNPACK_SKIP_PIXELS, region.x);
    gl.pixelStorei(gl.UNPACK_SKIP_ROWS, region.y);
    gl.texSubImage2D(
      gl.TEXTURE_2D,
      0,
      region.x,
      region.y,
      region.width,
      region.height,
      gl.RED,
      gl.FLOAT,
      values,
    );
    for (const setting of [gl.UNPACK_ROW_LENGTH, gl.UNPACK_SKIP_PIXELS, gl.UNPACK_SKIP_ROWS])
      gl.pixelStorei(setting, 0);
  }

  bind(unit: number): void {
    this.#gl.activeTexture(this.#gl.TEXTURE0 + unit);
    this.#gl.bindTexture(this.#gl.TEXTURE_2D, this.#texture);
  }

  dispose(): void {
    this.#gl.deleteTexture(this.#texture);
  }
}

/** A texture for drawing into and reading texel by texel: four 8-bit channels. */
export class TargetTexture {
  readonly width: number;
  readonly height: number;
  readonly #gl: WebGL2RenderingContext;
  readonly #texture: WebGLTexture;
  readonly #framebuffer: WebGLFramebuffer;

  constructor(gl: WebGL2RenderingContext, width: number, height: number) {
    this.#gl = gl;
    [this.width, this.height] = [width, height];
    this.#texture = unfiltered(gl);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, width, height);
    this.#framebuffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#framebuffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.#texture, 0);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  /** Calls `draw` with the texture as the target. */
  paint(draw: () => void): void {
    const gl = this.#gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#framebuffer);
    gl.viewport(0, 0, this.width, this.height);
    draw();
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  bind(unit: number): void {
    this.#gl.activeTexture(this.#gl.TEXTURE0 + unit);
    this.#gl.bindTexture(this.#gl.TEXTURE_2D, this.#texture);
  }

  dispose(): void {
    this.#gl.deleteFramebuffer(this.#framebuffer);
    this.#gl.deleteTexture(this.#texture);
  }
}

function unfiltered(gl: WebGL2RenderingContext): WebGLTexture {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const [name, value] of [
    [gl.TEXTURE_MIN_FILTER, gl.NEAREST],
    [gl.TEXTURE_MAG_FILTER, gl.NEAREST],
    [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE],
    [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE],
  ] as const)
    gl.texParameteri(gl.TEXTURE_2D, name, value);
  return texture;
}
