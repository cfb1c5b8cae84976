/*
 * SentencePiece's precompiled normalization rules: the length of a trie in bytes, the trie (a Darts double array of
 * little-endian uint32 units), then the replacements as zero-terminated UTF-8. The tokenizer library uses NFKC instead,
 * which differs for joined emoji, zero-width characters, control characters and U+0085.
 */

/** Clusters with more UTF-8 bytes are replaced character by character (Google's limit, kept by the reference). */
const longestCluster = 5;

let segmenter: Intl.Segmenter | undefined;
/** The number of UTF-16 units to segment at once, because the time of Node's segmenter grows with their square. */
const segmentedAtOnce = 256;

function* clusters(text: string): Generator<string, void> {
  // Most text, for which making a segmenter would take longer than everything else here.
  if (/^[ -~]*$/.test(text)) return yield* text;
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  for (let start = 0; start < text.length; ) {
    const end = start + segmentedAtOnce;
    const found = Array.from(segmenter.segment(text.slice(start, end)), ({ segment }) => segment);
    // The last cluster may continue beyond the slice.
    if (end < text.length && found.length > 1) found.pop();
    yield* found;
    start += found.reduce((length, cluster) => length + cluster.length, 0);
  }
}

const utf8 = new TextEncoder();

const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const leafOf = (unit: number): number => unit & 0x7fffffff;
const labelOf = (unit: number): number => (unit & 0x800000ff) >>> 0;
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);

/**
 * Makes a function that normalizes text by precompiled rules (tokenizers: normalizers/precompiled.rs, after
 * SentencePiece). The *shortest* rule that matches the beginning of a grapheme cluster replaces the whole cluster.
 * @throws {RangeError} if the rules are damaged.
 */
export function precompiledCharsmap(rules: Uint8Array): (text: string) => string {
  const view = new DataView(rules.buffer, rules.byteOffset, rules.byteLength);
  const trieBytes = rules.length >= 4 ? view.getUint32(0, true) : 0;
  if (trieBytes === 0 || trieBytes % 4 !== 0 || 4 + trieBytes > rules.length)
    throw new RangeError("the precompiled charsmap is damaged: its trie is longer than the data");
  // Copied to be aligned.
  const trie = new Uint32Array(Uint8Array.from(rules.subarray(4, 4 + trieBytes)).buffer);
  const replacements = rules.subarray(4 + trieBytes);
  const decoder = new TextDecoder();

  /** The replacement for `text`; null if no rule matches its beginning. */
  const replacement = (text: string): string | null => {
    let position = offsetOf(trie[0]!);
    for (const byte of utf8.encode(text)) {
      position ^= byte;
      const unit = trie[position];
      if (byte === 0 || unit === undefined || labelOf(unit) !== byte) return null;
      position ^= offsetOf(unit);
      if (hasLeaf(unit)) {
        const start = leafOf(trie[position] ?? 0);
        const end = replacements.indexOf(0, start);
        return decoder.decode(replacements.subarray(start, end < 0 ? undefined : end));
      }
    }
    return null;
  };

  const cache = new Map<string, string>();
  const normalizeCluster = (cluster: string): string => {
    const whole = utf8.encode(cluster).length <= longestCluster ? replacement(cluster) : null;
    return whole ?? Array.from(cluster, (character) => replacement(character) ?? character).join("");
  };
  return (text) => {
    let result = "";
    for (const cluster of clusters(text)) {
      let normalized = cache.get(cluster);
      if (normalized === undefined) {
        normalized = normalizeCluster(cluster);
        if (cache.size < 10_000) cache.set(cluster, normalized);
      }
      result += normalized;
    }
    return result;
  };
}
