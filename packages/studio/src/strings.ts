/*
 * Everything the page says, in English. A translation is another object of the same type.
 */

const count = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`;

export const strings = {
  product: "mflux-depth",

  header: {
    connecting: "Connecting…",
    lost: "The server does not answer. Trying again…",
    queue: (n: number) => (n === 0 ? "Queue" : `Queue ${n}`),
    paused: "paused",
    shortcuts: "Keyboard shortcuts",
    newPicture: "New",
    newPictureHint: "Start with another picture",
  },

  signIn: {
    title: "This studio asks for its token",
    text: "Whoever started the server set it. It is in the file given as --token-file, or in MFLUX_DEPTH_TOKEN.",
    token: "Token",
    enter: "Sign in",
    wrong: "The server does not accept this token. Check for missing characters.",
    away: "The server does not answer. Try again in a moment.",
  },

  welcome: {
    title: "Turn a photo into a space, then give it a new look",
    text: "Drop a photo or a depth map here, paste one, or",
    touchText: "Choose a photo or a depth map, or use the camera",
    choose: "Choose a picture",
    camera: "Take a photo",
    dropHere: "Drop it anywhere",
    keptPrompt: (prompt: string) => `Your prompt is saved: ${prompt}`,
    samples: "Or begin with a scene",
    sample: { bust: "Bust", sculpture: "Sculpture", mountains: "Mountains" },
    samplePrompts: {
      bundled: {
        bust: "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
        sculpture:
          "an abstract sculpture in glossy teal, on snow, clear blue sky, light from the left, highly detailed",
        mountains: "a mountain landscape, covered in grass, under a blue sky, light from the left",
      },
      flux: {
        bust: "a weathered marble bust in an overgrown garden, morning mist, soft light",
        sculpture: "three scoops of ice cream on a wooden stand, summer light, shallow focus",
        mountains: "snowy mountains at dawn, pink light on the ridges, drifting clouds",
      },
    },
    smallModel:
      "This server runs the small model that comes with mflux-depth. It knows spheres, cubes, busts and mountains. To work with FLUX.1 Depth, run",
    smallModelCommand: "npx mflux-depth download",
    smallModelAfter: "and start the server again.",
  },

  taking: {
    busy: "Reading the picture…",
    unreadable:
      "This browser cannot read the file. Use a PNG, JPEG, WebP, AVIF or GIF picture; save HEIC as JPEG first.",
    away: "The server does not answer, so the picture could not be sent. Try again in a moment.",
    tookPhoto: "Treated as a photo.",
    tookDepth: "Treated as a depth map.",
    isDepth: "It is a depth map.",
    isPhoto: "It is a photo.",
    fine: "Right",
  },

  failures: {
    away: "The server does not answer. Try again in a moment.",
    close: "Close",
  },

  remembered: {
    title: "mflux-depth made this picture",
    settings: "Use its settings",
    picture: "Use it as a photo",
  },

  canvas: {
    stage: "Canvas",
    stageHelp:
      "Plus and minus zoom, 0 shows everything, the arrow keys move. In the relief they turn it. With a brush, arrow keys move the brush, Enter paints, and the brackets change its size.",
    divider: "Slider between the two pictures",
    noWebGL: "Your browser cannot draw depth here, because WebGL 2 is switched off or missing.",
    histogram: "Levels",
    near: "Near",
    far: "Far",
    gamma: "Gamma",
    invert: "Invert",
    nearHelp:
      "Everything nearer than this becomes white. A percentile: 98 makes the nearest 2 % of the picture white.",
    farHelp:
      "Everything farther than this becomes black. A percentile: 2 makes the farthest 2 % of the picture black.",
    gammaHelp: "Above 1 gives distant areas more contrast, below 1 near areas.",
    levelsMeet: "Near and far are the same depth here; move them apart.",
    reset: "Reset levels",
    brushes: "Brush",
    tools: { move: "Move", raise: "Nearer", lower: "Farther", smooth: "Smooth", set: "Set" },
    toolHelp: {
      move: "Move and zoom the picture",
      raise: "Bring nearer",
      lower: "Push farther",
      smooth: "Even out",
      set: "Paint one depth; Alt-click the picture to pick it",
    },
    maskBrushes: "Brush for what may change",
    maskTools: { free: "Change", keep: "Keep" },
    maskToolHelp: { free: "This may change", keep: "This stays as it is" },
    size: "Size",
    hardness: "Hardness",
    strength: "Strength",
    depthValue: "Depth",
    undo: "Undo",
    redo: "Redo",
  },

  depthPanel: {
    title: "Photo and depth",
    levels: "Depth",
    photo: "Photo",
    givenMap: "Depth map",
    replace: "Replace",
    loading: "Finding the depth…",
    failed: "The depth could not be estimated.",
    retry: "Try again",
    resetPainting: "Remove all strokes",
    inverted: "White should be near, and this map looks the other way round.",
    invertIt: "Swap near and far",
    notInverted: "Keep it",
  },

  look: {
    title: "Look",
    prompt: "Describe the look",
    useExample: "Use the example",
    promptMissing: "Describe the look first.",
    promptTooLong: (excess: number) =>
      `${count(excess, "character", "characters")} too many. Shorten the description.`,
    keep: "Keep from photo",
    keepHint: "How much of the photo's colours and details to keep (image strength)",
    size: "Size",
    steps: "Steps",
    guidance: "Follow the words",
    guidanceHint: "How closely the image follows the words (guidance)",
    seed: "Seed",
    seedRandom: "Random",
    seedHint: "The same seed gives the same image; leave it empty for a new one each time",
    roll: "Choose a random seed",
    bestOf: "Best of",
    bestOfHint:
      "Make this many images with different seeds, and rank them by how faithfully they keep the depth",
    more: "More options",
    model: "Model",
    estimator: "Depth estimator",
    otherEstimators: "From a model of this server",
    estimatorHint:
      "Finds the depth of a photo. Times are for one estimate on two CPU cores. The server offers the estimators that --allow-model names and that are on its machine.",
    estimatorFacts: (name: string, licence: string, memory: string, time: string | null) =>
      [name, licence, memory, time].filter((fact) => fact !== null).join(" · "),
    resetAll: "Reset all options",
    automatic: "Automatic",
    defaultIs: (text: string) => `Default: ${text}`,
    resetHint: "Double-click for the default",
  },

  mask: {
    title: "Change only a part",
    hint: "The part in colour may change; the rest of the photo stays as it is.",
    missing: "Paint over the part of the photo that may change.",
    invert: "Swap the parts",
    clear: "Clear",
    file: "From a file",
  },

  loras: {
    title: "LoRAs",
    hint: "Styles and subjects that this server offers besides the model. Changing them loads the model again.",
    scale: (name: string) => `Strength of ${name}`,
    scaleHint: "1 is the trained strength; higher is stronger, 0 turns it off",
  },

  size: {
    auto: "(auto)",
    custom: "Other…",
    width: "Width",
    height: "Height",
    edges: "Edges",
    fit: "If the picture has different proportions",
    crop: "Crop",
    pad: "Extend",
    preview: (fit: "crop" | "pad") =>
      fit === "crop"
        ? "The picture has different proportions: the dimmed part is cut off."
        : "The picture has different proportions: its edges are extended.",
  },

  generate: {
    action: "Generate",
    submitting: "Sending…",
    cost: (time: string | null, memory: string) =>
      time ? `about ${time}, ${memory}` : `needs about ${memory} of memory`,
    asking: "Estimating…",
    maskMissing: "First paint the part that may change.",
    tooLarge: (needs: string, has: string) => `This needs ${needs} of memory; ${has} is free.`,
    use: (change: string) => `Use ${change}, which fits`,
    away: "The server does not answer. Your prompt and strokes are kept; try again in a moment.",
  },

  views: {
    label: "View",
    photo: "Photo",
    depth: "Depth",
    relief: "Relief",
    result: "Result",
    compare: "Compare",
    compareWith: "Compare with",
    slider: "Slider",
    side: "Side by side",
    hold: "Hold Space to see the photo",
  },

  progress: {
    queued: (ahead: number | null) =>
      ahead === null || ahead === 0 ? "Next in the queue" : `${count(ahead, "job", "jobs")} ahead`,
    queuePaused: "The queue is paused",
    starting: "Starting",
    loading: (share: number | null) =>
      share === null ? "Loading the model" : `Loading the model, ${Math.round(100 * share)}%`,
    stages: {
      text: "Reading the words",
      depth: "Finding the depth",
      control: "Preparing the depth",
      image: "Preparing the photo",
      denoise: "Drawing",
      decode: "Finishing",
    },
    image: (image: number, images: number) => `image ${image} of ${images}`,
    step: (step: number, steps: number) => `step ${step} of ${steps}`,
    left: (time: string) => `${time} left`,
    cancel: "Cancel",
    cancelling: "Stopping…",
    resumed: (step: number) => `Continues from step ${step}`,
    finished: "The image is ready",
    failed: "The image could not be made",
    cancelled: "Stopped before it was finished",
    again: "Try again",
    preview: "Preview",
  },

  result: {
    label: "Result",
    download: "Download",
    vary: "Vary",
    varyHint: "Four images with different seeds",
    input: "Use as photo",
    inputHint: "Make this image the photo of the next one",
    copy: "Copy as…",
    copied: "Copied",
    cannotCopy: "The browser lets a page copy only over HTTPS or on the server's own machine.",
    reuse: "Reuse",
    reuseAll: "All settings",
    reuseWithoutSeed: "All but the seed",
    reuseDepth: "Only the photo and depth",
    remove: "Delete",
    star: "Star",
    unstar: "Remove the star",
    edit: "Keep editing",
    seed: (seed: number) => `seed ${seed}`,
    place: (rank: number, rmse: number) => `${rank}. depth error ${rmse.toFixed(1)}`,
    placeHint: "How far the image's depth is from the map, on a scale of 255 (RMSE): lower is more faithful",
    grid: (n: number) => `All ${n}`,
    commands: { cli: "Command line", curl: "curl", typescript: "TypeScript", python: "Python" },
  },

  history: {
    title: "History",
    search: "Search prompts",
    starred: "Starred only",
    empty: "Your results appear here.",
    nothingFound: "Nothing found.",
    name: (state: string, prompt: string) => `${state}: ${prompt}`,
    isNew: "New",
    deleted: "Deleted.",
    undo: "Undo",
    states: {
      queued: "Waiting",
      running: "Running",
      succeeded: "Finished",
      failed: "Failed",
      cancelled: "Cancelled",
    },
    untitled: "Depth map",
  },

  queue: {
    title: "Queue",
    empty: "Nothing is waiting.",
    summary: (running: number, waiting: number) =>
      [running > 0 && `${running} running`, waiting > 0 && `${waiting} waiting`].filter(Boolean).join(", "),
    on: (worker: string) => `on ${worker}`,
    pause: "Pause",
    resume: "Resume",
    pausedText: "Paused: the running job finishes, the others wait.",
    up: "Earlier",
    down: "Later",
    cancel: "Cancel",
    workers: "Workers",
    drain: "Take a break",
    undrain: "Work again",
    workersSummary: (workers: number, working: number) => `${working} of ${workers} working`,
    workerStates: { idle: "idle", busy: "working", draining: "taking a break" },
    drainingAfter: "taking a break after this job",
    noWorkers: "No worker has joined this server yet. Jobs wait until one does.",
    allResting: "All workers are on a break. Jobs wait until one resumes.",
    lostFor: (time: string) => `not heard from for ${time}`,
    close: "Close",
  },

  shortcuts: {
    title: "Keyboard shortcuts",
    close: "Close",
    list: [
      ["Ctrl Enter", "Generate"],
      ["1 2 3 4", "Photo, depth, relief, result"],
      ["C", "Compare with the photo"],
      ["Space", "Hold to see the photo"],
      ["[ ]", "Smaller and larger brush"],
      ["Ctrl Z", "Undo a stroke"],
      ["Ctrl Shift Z", "Repeat it"],
      ["Q", "Queue"],
      ["/", "Search the history"],
      ["?", "This list"],
    ],
  },

  tabs: { label: "Panels", depth: "Depth", look: "Look", history: "History" },

  memory: {
    megabytes: (n: number) => `${n} MB`,
    gigabytes: (n: string) => `${n} GB`,
  },

  time: {
    seconds: (n: number) => `${n} s`,
    minutes: (n: number) => `${n} min`,
    hours: (n: number) => `${n} h`,
  },

  examples: {
    /** What the bundled model knows. */
    bundled: [
      "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
      "a metallic silver sculpture, stone floor, sunset",
      "matte teal shapes on a wooden floor, studio lighting",
      "mountains covered in snow, at night, cinematic",
      "a glossy red portrait, checkered floor, overcast sky",
    ],
    flux: [
      "a marble statue in a quiet garden, morning mist",
      "a village made of paper, soft light, paper texture",
      "an underwater ruin, shafts of light, drifting fish",
      "a room in a Dutch painting, window light, oil on canvas",
      "a city of glass at dusk, rain on the streets",
    ],
  },
} as const;
