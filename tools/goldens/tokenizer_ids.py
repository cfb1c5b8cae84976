"""Writes tokenizers.json: the ids that transformers gives for the texts of the committed file, without padding.

    python tokenizer_ids.py OUT

To add a case, add its text to the committed file with empty ids, run this and copy the result.
"""

import json
import sys
from pathlib import Path

import tokenizers
import transformers
from transformers import AutoTokenizer, CLIPTokenizer

PACKAGE = Path(__file__).resolve().parents[2] / "packages/mflux-depth"
MODEL = PACKAGE / "models/tiny-world"


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    clip = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
    t5 = AutoTokenizer.from_pretrained(MODEL / "tokenizer_2")

    def case(text):
        return {
            "text": text,
            "clip": clip(text, max_length=77, truncation=True).input_ids,
            "t5": t5(text, max_length=t5.model_max_length, truncation=True).input_ids,
        }

    committed = json.loads((PACKAGE / "test/golden/tokenizers.json").read_text())
    versions = {module.__name__: module.__version__ for module in (transformers, tokenizers)}
    lines = ",\n".join(f"  {json.dumps(case(old['text']))}" for old in committed["cases"])
    text = f' "made_with": {json.dumps(versions)},\n "cases": [\n{lines}\n ]'
    (out / "tokenizers.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
