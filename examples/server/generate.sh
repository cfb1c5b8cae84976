#!/bin/sh
# Makes an image from a depth map with curl.
set -eu
server=${MFLUX_DEPTH_URL:-http://127.0.0.1:4280}
map=$(dirname "$0")/../images/portrait_depth.png
call() { curl --fail-with-body --silent --show-error ${MFLUX_DEPTH_TOKEN:+--header "Authorization: Bearer $MFLUX_DEPTH_TOKEN"} "$@"; }

job=$(call "$server/v1/jobs" --form "depth_image=@$map" --form 'job={
  "kind": "generate",
  "request": {
    "prompt": "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
    "width": 256, "height": 256, "seed": 1
  }
}' | sed 's/^{"id":"\([^"]*\)".*/\1/')

# Ends with the job.
call --no-buffer "$server/v1/jobs/$job/events" | grep --line-buffered '^event: '
call "$server/v1/jobs/$job/image" --output portrait.png
echo portrait.png
