/* The sample scenes of the page: rendered by tools/tiny-world, with their exact depth. */

import bust from "../samples/bust.jpg";
import bustMap from "../samples/bust-depth.png";
import mountains from "../samples/mountains.jpg";
import mountainsMap from "../samples/mountains-depth.png";
import sculpture from "../samples/sculpture.jpg";
import sculptureMap from "../samples/sculpture-depth.png";
import { api } from "./api.js";
import { draft, edit } from "./draft.js";
import { takePair } from "./pictures.js";

/** The addresses of a scene's photo and depth map. */
export const samples = {
  bust: { photo: bust, map: bustMap },
  sculpture: { photo: sculpture, map: sculptureMap },
  mountains: { photo: mountains, map: mountainsMap },
} as const;

export type SampleName = keyof typeof samples;

/** Uses a sample scene. An existing prompt stays. */
export async function takeSample(name: SampleName, prompt: string): Promise<void> {
  const { photo, map } = samples[name];
  await takePair(
    async () => ({
      photo: await fileAt(photo, `${name}.jpg`),
      map: await fileAt(map, `${name}-depth.png`),
    }),
    () => {
      if (draft.value.prompt.trim() === "") edit({ prompt });
    },
  );
}

async function fileAt(url: string, name: string): Promise<File> {
  const bytes = await api.file(url);
  return new File([bytes], name, { type: bytes.type });
}
