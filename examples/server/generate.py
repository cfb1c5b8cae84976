"""Makes an image from a depth map, and follows the job. Python 3.8 or newer, without packages."""

import base64
import json
import os
import pathlib
import urllib.error
import urllib.request

SERVER = os.environ.get("MFLUX_DEPTH_URL", "http://127.0.0.1:4280")
TOKEN = os.environ.get("MFLUX_DEPTH_TOKEN")


def call(path, body=None):
    """Opens an answer; a body is sent as JSON."""
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    data = None if body is None else json.dumps(body).encode()
    try:
        return urllib.request.urlopen(urllib.request.Request(SERVER + path, data, headers))
    except urllib.error.HTTPError as error:
        raise SystemExit(json.load(error)["error"]["message"])


depth_map = pathlib.Path(__file__).parent / "../images/portrait_depth.png"
job = json.load(
    call(
        "/v1/jobs",
        {
            "kind": "generate",
            "request": {
                "prompt": "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
                "depth_image": {"base64": base64.b64encode(depth_map.read_bytes()).decode()},
                "width": 256,
                "height": 256,
                "seed": 1,
            },
        },
    )
)

event = None
# The stream ends with the job.
for line in call(f"/v1/jobs/{job['id']}/events"):
    name, _, value = line.decode().strip().partition(": ")
    if name == "event":
        event = value
    elif name == "data" and event == "step":
        data = json.loads(value)
        print(f"step {data['step']} of {data['steps']}")
if event != "succeeded":
    raise SystemExit(f"the job {event}")
pathlib.Path("portrait.png").write_bytes(call(f"/v1/jobs/{job['id']}/image").read())
print("portrait.png")
