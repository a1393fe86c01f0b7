#!/bin/sh
# Makes pipeline/gallery/assets/three.js from the package of that name (MIT): its core and OrbitControls as one classic script,
# because pages that are opened from a disk may not load modules. Needs node and npm.
set -eu
here=$(cd "$(dirname "$0")/../pipeline/gallery/assets" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund three@0.170.0 esbuild@0.28.2
cat >entry.js <<'JS'
export {
  AmbientLight, BufferAttribute, BufferGeometry, DirectionalLight, DoubleSide, Mesh, MeshBasicMaterial,
  MeshStandardMaterial, PerspectiveCamera, Scene, SRGBColorSpace, Texture, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
JS
npx esbuild entry.js --bundle --minify --format=iife --global-name=THREE --legal-comments=none \
  --banner:js="// three.js r170, MIT licence, see three.LICENSE.txt; made by scripts/build_gallery_viewer.sh" --outfile="$here/three.js"
cp node_modules/three/LICENSE "$here/three.LICENSE.txt"
