// The mesh of a person on a canvas: turned by dragging, with texture, light and wireframe. Draws when something changes.
"use strict";

window.ganfit.Viewer = class {
  constructor(canvas, topology) {
    this.canvas = canvas;
    this.topology = decodeTopology(topology);
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(30, 1, 10, 5000);
    this.ambient = new THREE.AmbientLight(0xffffff, 0.9);
    this.sun = new THREE.DirectionalLight(0xffffff, 2.4);
    this.scene.add(this.ambient, this.sun, this.sun.target);
    this.controls = new THREE.OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => this.draw());
    this.options = { texture: true, light: true, wireframe: false, direction: 25 };
    this.lit = new THREE.MeshStandardMaterial({ roughness: 0.75, side: THREE.DoubleSide });
    this.flat = new THREE.MeshBasicMaterial({ side: THREE.DoubleSide });
    this.mesh = null;
    this.generation = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  async show(data) {
    const generation = ++this.generation;
    this.clear();
    const geometry = makeGeometry(data, this.topology);
    const texture = new THREE.Texture(await picture("data:image/jpeg;base64," + data.texture));
    if (generation !== this.generation) return geometry.dispose();
    texture.colorSpace = THREE.SRGBColorSpace;
    texture.anisotropy = 4;
    texture.needsUpdate = true;
    this.texture = texture;
    this.mesh = new THREE.Mesh(geometry, this.lit);
    this.scene.add(this.mesh);
    geometry.computeBoundingSphere();
    this.sphere = geometry.boundingSphere;
    this.reset();
  }

  clear() {
    if (!this.mesh) return;
    this.scene.remove(this.mesh);
    this.mesh.geometry.dispose();
    this.texture.dispose();
    this.mesh = null;
    this.draw();
  }

  set(options) {
    Object.assign(this.options, options);
    if (!this.mesh) return;
    const { texture, light, wireframe } = this.options;
    for (const material of [this.lit, this.flat]) {
      material.map = texture ? this.texture : null;
      material.color.set(texture ? 0xffffff : 0xb9b4ae);
      material.wireframe = wireframe;
      material.needsUpdate = true;
    }
    this.mesh.material = light ? this.lit : this.flat;
    this.draw();
  }

  reset() {
    if (!this.mesh) return;
    const { center, radius } = this.sphere;
    const distance = radius / Math.sin((this.camera.fov / 2) * (Math.PI / 180));
    this.controls.target.copy(center);
    this.controls.minDistance = radius * 0.8;
    this.controls.maxDistance = distance * 4;
    this.camera.near = radius / 20;
    this.camera.far = distance * 6;
    this.camera.position.set(center.x, center.y, center.z + distance);
    this.controls.update();
    this.set({});
  }

  // Angles in radians; zoom is a factor of the distance.
  turn(right, down, zoom = 1) {
    if (!this.mesh) return;
    const offset = this.camera.position.clone().sub(this.controls.target);
    const distance = offset.length();
    const polar = Math.min(Math.max(Math.acos(offset.y / distance) - down, 0.05), Math.PI - 0.05);
    const azimuth = Math.atan2(offset.x, offset.z) - right;
    offset.set(Math.sin(polar) * Math.sin(azimuth), Math.cos(polar), Math.sin(polar) * Math.cos(azimuth));
    this.camera.position.copy(this.controls.target).addScaledVector(offset, distance * zoom);
    this.controls.update();
    this.draw();
  }

  draw() {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (this.mesh) {
      const angle = (this.options.direction * Math.PI) / 180;
      const { center, radius } = this.sphere;
      this.sun.target.position.copy(center);
      this.sun.position.set(Math.sin(angle), 0.45, Math.cos(angle)).multiplyScalar(4 * radius);
      this.sun.position.applyQuaternion(this.camera.quaternion).add(center);
    }
    this.renderer.render(this.scene, this.camera);
  }
};

function bytes(text) {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found.buffer;
}

// One vertex for every pair of a model vertex and a texture coordinate.
function decodeTopology(topology) {
  const triangles = new Uint32Array(bytes(topology.triangles));
  const uvTriangles = new Uint32Array(bytes(topology.uv_triangles));
  const uv = new Float32Array(bytes(topology.uv));
  const corners = new Map(), source = [], coordinates = [], index = new Uint32Array(triangles.length);
  triangles.forEach((vertex, corner) => {
    const key = vertex * 0x400000 + uvTriangles[corner];
    let place = corners.get(key);
    if (place === undefined) {
      corners.set(key, (place = source.length));
      source.push(vertex);
      coordinates.push(uv[2 * uvTriangles[corner]], uv[2 * uvTriangles[corner] + 1]);
    }
    index[corner] = place;
  });
  return { triangles, index, source: Uint32Array.from(source), uv: Float32Array.from(coordinates) };
}

function makeGeometry(data, topology) {
  const values = new Uint16Array(bytes(data.values));
  const vertices = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) vertices[i] = data.low[i % 3] + data.step[i % 3] * values[i];
  // Normals of the surface before its vertices are repeated: no crease along texture seams.
  const welded = new THREE.BufferGeometry();
  welded.setAttribute("position", new THREE.BufferAttribute(vertices, 3));
  welded.setIndex(new THREE.BufferAttribute(topology.triangles, 1));
  welded.computeVertexNormals();
  const normals = welded.getAttribute("normal").array;
  const gather = (from) => {
    const found = new Float32Array(3 * topology.source.length);
    topology.source.forEach((vertex, place) => found.set(from.subarray(3 * vertex, 3 * vertex + 3), 3 * place));
    return found;
  };
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(gather(vertices), 3));
  geometry.setAttribute("normal", new THREE.BufferAttribute(gather(normals), 3));
  geometry.setAttribute("uv", new THREE.BufferAttribute(topology.uv, 2));
  geometry.setIndex(new THREE.BufferAttribute(topology.index, 1));
  return geometry;
}

function picture(source) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("the texture cannot be decoded"));
    image.src = source;
  });
}
