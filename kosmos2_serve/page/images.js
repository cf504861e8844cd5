// Images from files, the clipboard, dropping, the camera and the example scenes.

import { byId, shortened } from "./dom.js";

const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp"];
const MAX_BYTES = 6_000_000; // larger files are made smaller before they are sent
const MAX_PIXELS = 33_000_000; // the server refuses larger images
const REDUCED_SIDE = 2048; // pixels
const JPEG_QUALITY = 0.95;

/** Return an image that can be shown and sent: {name, type, url, dataUrl, width, height, reduced}. */
export async function readImage(blob, name) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error(`“${shortened(name)}” is not an image that this browser can read: use a PNG, JPEG or WebP file.`);
  });
  const { width, height } = bitmap;
  const fits = SENT_AS_THEY_ARE.includes(blob.type) && blob.size <= MAX_BYTES && width * height <= MAX_PIXELS;
  const scale = Math.min(1, REDUCED_SIDE / Math.max(width, height));
  const kept = fits ? blob : await asJpeg(bitmap, Math.round(width * scale), Math.round(height * scale));
  bitmap.close();
  const dataUrl = await dataUrlOf(kept);
  const size = fits ? { width, height } : { width: Math.round(width * scale), height: Math.round(height * scale) };
  return { name: fits ? name : name.replace(/(\.\w+)?$/, ".jpg"), type: kept.type, url: dataUrl, dataUrl, ...size, reduced: !fits };
}

/** Return a picture of what the video shows now. */
export async function pictureOf(video) {
  return readImage(await asJpeg(video, video.videoWidth, video.videoHeight), "camera.jpg");
}

async function asJpeg(source, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // behind transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

function dataUrlOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file cannot be read: choose it again."));
    reader.readAsDataURL(blob);
  });
}

/**
 * Let the visitor bring images in all ways.
 *
 * `use(blob, name)` gets a file, `usePicture(image)` a picture of the camera, and `tell(sentence)` what went wrong.
 */
export function listenForImages({ use, usePicture, tell }) {
  listenForFiles(use);
  listenForPaste(use, tell);
  listenForDrop(use, tell);
  listenForCamera(usePicture);
}

function listenForFiles(use) {
  const input = byId("file");
  byId("upload").onclick = () => input.click();
  input.onchange = () => {
    const [file] = input.files;
    if (file) use(file, file.name);
    input.value = ""; // so that the same file can be chosen again
  };
}

const firstImage = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));

function listenForPaste(use, tell) {
  document.addEventListener("paste", (event) => {
    const file = firstImage(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    use(file, file.name);
  });
  byId("paste").onclick = async () => {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((name) => name.startsWith("image/"));
        if (type) return await use(await item.getType(type), `pasted.${type.slice(6)}`);
      }
      tell("There is no image in the clipboard: copy one first.");
    } catch {
      tell("This browser does not let the page read the clipboard: press Ctrl+V instead.");
    }
  };
}

function listenForDrop(use, tell) {
  const area = byId("drop-area");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    area.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) area.hidden = true; // it left the window
  });
  document.addEventListener("drop", (event) => {
    area.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    const file = firstImage(event.dataTransfer) ?? event.dataTransfer.files[0];
    if (file) use(file, file.name);
    else tell("There is no file in what was dropped: save the image first, then drop the file.");
  });
}

const CAMERA_PROBLEMS = {
  NotAllowedError: "The camera is not allowed for this page: allow it beside the address, then try again.",
  NotFoundError: "There is no camera on this device.",
  NotReadableError: "Another program uses the camera: close it, then try again.",
};

function listenForCamera(usePicture) {
  const [dialog, video, take, problem] = ["camera-dialog", "video", "take", "camera-error"].map(byId);
  let media = null;
  byId("camera").onclick = async () => {
    take.disabled = true;
    problem.hidden = true;
    dialog.showModal();
    try {
      if (!navigator.mediaDevices) throw new Error("insecure");
      const opened = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "environment" } });
      if (!dialog.open) return stopCamera(opened);
      media = opened;
      video.srcObject = media;
      video.onloadeddata = () => (take.disabled = false);
    } catch (error) {
      problem.textContent =
        CAMERA_PROBLEMS[error.name] ?? "The browser gives the camera only to pages from https or from this machine.";
      problem.hidden = false;
    }
  };
  take.onclick = async () => {
    const picture = await pictureOf(video);
    dialog.close();
    usePicture(picture);
  };
  byId("close-camera").onclick = () => dialog.close();
  dialog.onclose = () => {
    stopCamera(media);
    media = video.srcObject = null;
  };
}

function stopCamera(media) {
  for (const track of media?.getTracks() ?? []) track.stop();
}
