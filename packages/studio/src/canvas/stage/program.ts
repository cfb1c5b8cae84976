type UniformValue = number | boolean | readonly number[] | Float32Array;

/** A linked pair of shaders with its uniforms by name. */
export class Program {
  readonly #gl: WebGL2RenderingContext;
  readonly #program: WebGLProgram;
  readonly #uniforms = new Map<string, { location: WebGLUniformLocation; type: number }>();

  /** @throws {Error} with the driver's message when a shader does not compile. */
  constructor(gl: WebGL2RenderingContext, vertex: string, fragment: string) {
    this.#gl = gl;
    this.#program = gl.createProgram();
    for (const [type, source] of [
      [gl.VERTEX_SHADER, vertex],
      [gl.FRAGMENT_SHADER, fragment],
    ] as const) {
      const shader = gl.createShader(type)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.#program, shader);
      // Attached shaders live as long as the program.
      gl.deleteShader(shader);
    }
    gl.linkProgram(this.#program);
    if (!gl.getProgramParameter(this.#program, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = gl.getAttachedShaders(this.#program)!.map((shader) => gl.getShaderInfoLog(shader));
      throw new Error(
        `A shader of the stage does not compile: ${[...logs, gl.getProgramInfoLog(this.#program)].join("\n")}`,
      );
    }
    const count: number = gl.getProgramParameter(this.#program, gl.ACTIVE_UNIFORMS) ?? 0;
    for (let i = 0; i < count; i++) {
      const { name, type } = gl.getActiveUniform(this.#program, i)!;
      this.#uniforms.set(name, { location: gl.getUniformLocation(this.#program, name)!, type });
    }
  }

  /** Makes it the current program and sets uniforms; those that its shaders do not use are skipped. */
  use(values: Readonly<Record<string, UniformValue>>): void {
    this.#gl.useProgram(this.#program);
    for (const [name, value] of Object.entries(values)) {
      const uniform = this.#uniforms.get(name);
      if (uniform) this.#set(uniform.location, uniform.type, value);
    }
  }

  dispose(): void {
    this.#gl.deleteProgram(this.#program);
  }

  #set(location: WebGLUniformLocation, type: number, value: UniformValue): void {
    const gl = this.#gl;
    if (typeof value === "number" || typeof value === "boolean") {
      if (type === gl.FLOAT) gl.uniform1f(location, Number(value));
      else gl.uniform1i(location, Number(value));
      return;
    }
    switch (type) {
      case gl.FLOAT_VEC2:
        gl.uniform2fv(location, value);
        break;
      case gl.FLOAT_VEC4:
        gl.uniform4fv(location, value);
        break;
      case gl.INT_VEC2:
        gl.uniform2iv(location, value);
        break;
      case gl.FLOAT_MAT4:
        gl.uniformMatrix4fv(location, false, value);
        break;
      default:
        throw new Error(`A shader of the stage has a uniform of type ${type}, which nothing sets.`);
    }
  }
}
